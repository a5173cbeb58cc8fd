"""The tenants of the demo and their rules, read from ``policies.toml``.

Identifiers of rules are made from the names, so that every run of the demo, and
every statement that it suggests, speaks of the same rules.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass
from pathlib import Path
from uuid import UUID, uuid5

from pgrules import Rule

SOURCE = Path(__file__).with_name("policies.toml")


@dataclass(frozen=True, slots=True)
class Tenant:
    """One compensation service: who it is and by which rules it decides."""

    id: UUID
    name: str
    about: str
    rules: tuple[Rule, ...]

    def rule(self, name: str) -> Rule:
        """Return the rule of that name; ``LookupError`` where there is none."""
        for rule in self.rules:
            if rule.name == name:
                return rule
        raise LookupError(f"{self.name} has no rule {name!r}")


def read_policies(source: Path = SOURCE) -> tuple[Tenant, ...]:
    """Return the tenants in the order of the file."""
    document = tomllib.loads(source.read_text(encoding="utf-8"))
    return tuple(
        Tenant(
            id=(tenant_id := UUID(tenant["id"])),
            name=tenant["name"],
            about=tenant["about"],
            rules=tuple(
                Rule(
                    id=uuid5(tenant_id, rule["name"]),
                    name=rule["name"],
                    expression=rule["expression"].strip(),
                )
                for rule in tenant["rules"]
            ),
        )
        for tenant in document["tenants"]
    )
