"""Puts the Sqitch project into what is built, so that an installed command has it.

The project lies at the root of the repository, beside this folder; in a source
distribution it lies inside. An editable installation reads the checkout itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

PARTS = ("sqitch.conf", "sqitch.plan", "deploy", "revert", "verify")


class SqitchProject(BuildHookInterface[Any]):
    """Adds the project as ``pgrules/sqitch`` to a wheel, as ``sqitch`` to a sdist."""

    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        """Name the files to include; called by hatchling before each build."""
        if version == "editable":
            return
        here = Path(self.root)
        checkout = here.parent
        source = checkout if (checkout / "sqitch.plan").exists() else here / "sqitch"
        target = "pgrules/sqitch" if self.target_name == "wheel" else "sqitch"
        for part in PARTS:
            build_data["force_include"][str(source / part)] = f"{target}/{part}"
