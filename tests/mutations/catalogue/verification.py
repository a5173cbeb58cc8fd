"""Verify scripts that would not notice: Sqitch and operators believe them."""

from __future__ import annotations

from tests.mutations.mutation import Mutation

MUTATIONS = (
    Mutation(
        name="verification-blind-to-grants",
        path="verify/000011_rules.sql",
        text=" OR (expected.fact IS NULL AND kind = 'grant')",
        replacement="",
        danger="A privilege that somebody gave by hand is never found.",
        caught_by=("tests/migration/test_verify.py::test_damage_is_noticed",),
    ),
)
