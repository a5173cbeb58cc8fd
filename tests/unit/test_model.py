"""`Rule` and `EvaluationResult` as data."""

from dataclasses import FrozenInstanceError, fields, replace
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import pytest

from pgrules import EvaluationResult, InvalidRule, PgRulesError, Rule


def test_a_rule_has_the_fields_of_the_requirements() -> None:
    """STORE-2."""
    assert [field.name for field in fields(Rule)] == [
        "id",
        "name",
        "expression",
        "active",
        "created_at",
        "updated_at",
    ]


def test_a_result_has_the_fields_of_the_requirements() -> None:
    """EVAL-2."""
    assert [field.name for field in fields(EvaluationResult)] == [
        "rule_id",
        "rule_name",
        "matched",
        "error",
        "trace",
    ]


def test_a_rule_is_active_unless_said_otherwise() -> None:
    assert Rule(uuid4(), "adults", "User.Age >= 18").active


def test_an_id_may_be_given_as_text() -> None:
    """REQ-PERSIST-005: UUID strings identify rules."""
    text = str(uuid4())
    assert Rule(text, "adults", "true").id == UUID(text)


def test_a_rule_cannot_be_changed_in_place() -> None:
    rule = Rule(uuid4(), "adults", "true")
    with pytest.raises(FrozenInstanceError):
        rule.name = "minors"  # type: ignore[misc]


def test_a_changed_copy_keeps_the_other_fields() -> None:
    rule = Rule(
        uuid4(), "adults", "true", active=False, created_at=datetime.now(tz=UTC)
    )
    changed = replace(rule, expression="false")
    assert changed == Rule(
        rule.id, "adults", "false", active=False, created_at=rule.created_at
    )


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"id": "no-uuid"}, "'no-uuid' is no UUID"),
        ({"id": 7}, "the id is int, not UUID or str"),
        ({"id": None}, "the id is NoneType, not UUID or str"),
        ({"name": ""}, "the name is empty"),
        ({"name": " \t"}, "the name is empty"),
        ({"name": "n" * 256}, "the name has 256 characters, 255 are the limit"),
        ({"name": b"bytes"}, "name is bytes, not str"),
        ({"name": "a\0b"}, "name has U+0000 at position 1"),
        ({"name": "\ud800"}, "name has U+D800 at position 0"),
        ({"expression": None}, "expression is NoneType, not str"),
        ({"expression": "'\0'"}, "expression has U+0000 at position 1"),
        ({"expression": "'\udfff'"}, "expression has U+DFFF at position 1"),
        ({"active": 1}, "active is int, not bool"),
    ],
)
def test_a_rule_that_no_store_can_keep_is_refused(
    values: dict[str, Any], reason: str
) -> None:
    given = {"id": uuid4(), "name": "adults", "expression": "true", **values}
    with pytest.raises(InvalidRule) as caught:
        Rule(**given)
    assert reason in str(caught.value)
    assert isinstance(caught.value, PgRulesError)


def test_a_name_of_the_full_length_is_kept() -> None:
    name = "ü" * 255
    assert Rule(uuid4(), name, "true").name == name
