"""A checked rule as SQL: a boolean expression with the meaning of the rule.

The expression is TRUE if and only if the rule is true of the facts; where it is false
or ends in an error, the expression is FALSE or NULL. It never raises an error, reads no
setting of the session, and is safe in parallel plans. What has no SQL of the same
meaning is refused with a reason, for the caller to evaluate by the language itself,
over the rows that pass what has SQL.

SQL knows no limits of cost or of the facts' size, and it looks at what the rule reads
only: facts that the language refuses because of a number elsewhere are not refused.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

from .checked import Chain, Checked
from .errors import InvalidEnvironment
from .source import location
from .sql_columns import Column, Rows
from .sql_text import Arguments, Refused, conjunction
from .sql_translator import Translator

if TYPE_CHECKING:
    from collections.abc import Iterator

    from .environment import Environment
    from .sql_text import Mode


class Source(NamedTuple):
    """Where a rule's variables are read from: a column of facts, or columns.

    ``row`` is the alias of the table in the query that the SQL is for. With ``facts``,
    the column of that name is ``jsonb`` with the facts; without a ``row``, the name
    stands alone. With ``columns``, the variables are those columns, or the fields of
    the object ``object`` are.
    """

    row: str | None = None
    facts: str | None = None
    columns: dict[str, Column] | None = None
    object: str | None = None

    @classmethod
    def from_json(cls, document: Any) -> Source:
        """The source that a decoded JSON document describes.

        Either ``{"row": "t", "facts": "facts"}``, where ``row`` may be missing, or
        ``{"row": "t", "columns": {"delay": {"name": "delay", "type": "bigint",
        "nullable": false}}, "object": null}``. The keys of ``columns`` are CEL's names;
        ``type`` is what PostgreSQL's ``format_type`` writes of the base type;
        ``nullable`` is true and ``object`` null where they are missing, and so is
        ``deterministic`` true, which is that of the column's collation. Raises
        :class:`InvalidEnvironment`.
        """
        try:
            columns = document.get("columns")
            if columns is not None:
                columns = {
                    name: Column(
                        column["name"],
                        column["type"],
                        column.get("nullable", True),
                        column.get("deterministic", True),
                    )
                    for name, column in columns.items()
                }
            facts = None if columns is not None else "" + document["facts"]
            return cls(document.get("row"), facts, columns, document.get("object"))
        except (AttributeError, KeyError, TypeError):
            raise InvalidEnvironment(
                "the source of a translation is no such JSON",
                hint='for example {"row": "t", "facts": "facts"}',
            ) from None


class Reason(NamedTuple):
    """A sub-expression without SQL; line and column count from 1."""

    line: int
    column: int
    expression: str
    reason: str


class Translation(NamedTuple):
    """A template for ``format()`` with its arguments, and what has no SQL.

    Without ``reasons``, the template says what the rule says. With some, it is what has
    SQL of a conjunction, ``a && b``: true wherever the rule is true; None where nothing
    has.
    """

    template: str | None
    arguments: list[str]
    reasons: list[Reason]


# Characters of a template: beyond, planning takes longer than evaluating row by row.
_LONGEST = 200_000
_LONGEST_SHOWN = 200


def translate(
    tree: Checked,
    text: str,
    environment: Environment,
    source: Source,
    *,
    mode: Mode = "true",
) -> Translation:
    """The SQL of a rule; ``text`` is what ``tree`` was made from.

    In mode ``exact`` the SQL is FALSE where the rule is false and NULL where it ends in
    an error, in mode ``false`` it is FALSE if and only if the rule is false.
    """
    arguments = Arguments(frozenset(name for name in (source.row,) if name))
    facts = rows = None
    if source.columns is None:
        assert source.facts is not None
        names = [name for name in (source.row, source.facts) if name is not None]
        facts = ".".join(map(arguments.name, names))
    else:
        rows = Rows(source.row or "", source.columns, source.object)

    def condition(node: Checked, mode: Mode) -> str | list[Refused]:
        translator = Translator(arguments, environment, facts, rows)
        try:
            sql = translator.condition(node, mode)
        except RecursionError:
            return [Refused(node, "its SQL is nested too deeply")]
        except Refused as refusal:
            return [*translator.refusals, refusal]
        if len(sql) > _LONGEST:
            return [Refused(node, "its SQL is too long")]
        return sql

    whole = condition(tree, mode)
    if isinstance(whole, str):
        return Translation(*arguments.finish(whole), [])
    reasons = sorted(dict.fromkeys(_reason(refusal, text) for refusal in whole))
    found = [condition(part, "true") for part in _conjuncts(tree)]
    filters = [sql for sql in found if isinstance(sql, str)]
    if mode != "true" or not filters or sum(map(len, filters)) > _LONGEST:
        return Translation(None, [], reasons)
    return Translation(*arguments.finish(conjunction(filters)), reasons)


def _conjuncts(tree: Checked) -> Iterator[Checked]:
    """The operands of a conjunction, also of those within it; none of another node."""
    if isinstance(tree, Chain) and tree.operator == "&&":
        for operand in tree.operands:
            if isinstance(operand, Chain) and operand.operator == "&&":
                yield from _conjuncts(operand)
            else:
                yield operand


def _reason(refusal: Refused, text: str) -> Reason:
    origin = refusal.node.origin
    written = text[origin.start : origin.end]
    if len(written) > _LONGEST_SHOWN:
        written = written[: _LONGEST_SHOWN - 3] + "..."
    return Reason(*location(text, origin.start), written, refusal.reason)
