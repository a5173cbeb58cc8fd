"""The statements that the demo suggests, from ``next_steps.sql``.

Each works as it is when pasted into psql. There, every statement is a transaction of
its own, so the tenant is set for the session; an application sets it for each
transaction.
"""

from __future__ import annotations

from pathlib import Path
from string import Template
from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from .policies import Tenant

SOURCE: Final = Path(__file__).with_name("next_steps.sql")


def statements(tenants: tuple[Tenant, ...], flight: int) -> list[str]:
    """The statements for these tenants, with one of the flights as their example."""
    fairwing, skyledger = tenants
    text = Template(SOURCE.read_text(encoding="utf-8")).substitute(
        fairwing=fairwing.id,
        fairwing_name=fairwing.name,
        skyledger=skyledger.id,
        meal=fairwing.rule("care: meal").id,
        knock_on=fairwing.rule("knock-on from an earlier leg").id,
        flight=flight,
    )
    return text.strip().split("\n\n")
