"""The Sqitch project as files: names, order, headers, transactions."""

import re

import pytest

from tests.fixtures.sqitch import ROOT
from tests.migration.project import plan

PLAN = plan()
KINDS = ("deploy", "revert", "verify")


def script(kind: str, change: str) -> str:
    return (ROOT / kind / f"{change}.sql").read_text()


def test_changes_are_numbered_in_the_order_of_the_plan() -> None:
    """REQ-MIGRATION-002."""
    for number, change in enumerate(PLAN, start=1):
        assert re.fullmatch(rf"{number:06}_[a-z][a-z_]*", change), change


@pytest.mark.parametrize("kind", KINDS)
def test_every_change_has_its_script_and_every_script_its_change(kind: str) -> None:
    """REQ-MIGRATION-003, REQ-MIGRATION-002."""
    scripts = {path.name for path in (ROOT / kind).iterdir()}
    assert scripts == {f"{change}.sql" for change in PLAN}


@pytest.mark.parametrize("change", PLAN)
def test_a_script_says_what_it_belongs_to(change: str) -> None:
    headers = {
        "deploy": f"-- Deploy pgrules:{change} to pg\n",
        "revert": f"-- Revert pgrules:{change} from pg\n",
        "verify": f"-- Verify pgrules:{change} on pg\n",
    }
    for kind, header in headers.items():
        assert script(kind, change).startswith(header)


@pytest.mark.parametrize("change", PLAN)
def test_a_change_requires_earlier_ones_and_says_so(change: str) -> None:
    required = re.findall(r"(?m)^-- requires: (\w+)$", script("deploy", change))
    assert required == PLAN[change]
    earlier = list(PLAN)[: list(PLAN).index(change)]
    assert set(required) <= set(earlier)


@pytest.mark.parametrize("change", PLAN)
def test_a_script_is_one_transaction(change: str) -> None:
    """REQ-MIGRATION-004: what fails leaves nothing, and verifying changes nothing."""
    for kind, end in (
        ("deploy", "COMMIT"),
        ("revert", "COMMIT"),
        ("verify", "ROLLBACK"),
    ):
        controls = re.findall(
            r"(?m)^(BEGIN|COMMIT|ROLLBACK|END|ABORT);", script(kind, change)
        )
        # END and BEGIN inside a function body end with the body, not the transaction.
        outside = [word for word in controls if word != "END"]
        assert outside == ["BEGIN", end], f"{kind}/{change}.sql"
        assert script(kind, change).endswith(f"\n{end};\n")


@pytest.mark.parametrize("change", PLAN)
def test_a_verification_asserts(change: str) -> None:
    """Sqitch takes a query that finds nothing for a success; only an error is none."""
    verification = script("verify", change)
    assert "ASSERT" in verification
    assert "SET LOCAL plpgsql.check_asserts = on;" in verification
    assert not re.search(r"(?m)^SELECT", verification)
