"""Where our results differ from Google's runtime, each with the reason.

What is listed here is meant; any other difference fails the test. ``docs/oracle.md``
is the list for readers. cel-cpp is the runtime behind ``cel-expr-python``; where
cel-spec is silent, cel-go, whose extension libraries ours are, decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Final, NamedTuple

from tests.unit.cel import generation

if TYPE_CHECKING:
    from tests.unit.cel.oracle import Difference


class Known(NamedTuple):
    """A kind of difference that is listed in ``docs/oracle.md`` under its title."""

    title: str
    is_one: Callable[[Difference], bool]


def known(difference: Difference) -> str | None:
    """The title of the kind that a difference is of, or None for a new one."""
    for kind in KNOWN:
        if kind.is_one(difference):
            return kind.title
    return None


def _refused(pattern: str) -> Callable[[Difference], bool]:
    """What the oracle's checker refuses with a message, and ours does not."""
    found = re.compile(pattern)

    def is_one(difference: Difference) -> bool:
        return (
            difference.theirs.kind == "refused"
            and difference.ours.kind != "refused"
            and found.search(difference.theirs.content) is not None
        )

    return is_one


def _fails(ours: str, theirs: str) -> Callable[[Difference], bool]:
    """What fails there when it is evaluated; ours is of a kind, perhaps refused."""
    found = re.compile(theirs)

    def is_one(difference: Difference) -> bool:
        return (
            difference.theirs.kind == "error"
            and difference.ours.kind == ours
            and found.search(difference.theirs.content) is not None
        )

    return is_one


def _ours_fails(pattern: str) -> Callable[[Difference], bool]:
    """What has a value there, and fails here with a message."""
    found = re.compile(pattern)

    def is_one(difference: Difference) -> bool:
        return (
            difference.theirs.kind == "value"
            and difference.ours.kind == "error"
            and found.search(difference.ours.content) is not None
        )

    return is_one


def _ours_refuses(pattern: str) -> Callable[[Difference], bool]:
    """What our checker refuses with a message, and theirs does not."""
    found = re.compile(pattern)

    def is_one(difference: Difference) -> bool:
        return (
            difference.ours.kind == "refused"
            and difference.theirs.kind != "refused"
            and found.search(difference.ours.content) is not None
        )

    return is_one


def _values(pattern: str) -> Callable[[Difference], bool]:
    """Two values, of an expression that has something in it."""
    found = re.compile(pattern)

    def is_one(difference: Difference) -> bool:
        return difference.ours.kind == difference.theirs.kind == "value" and (
            found.search(difference.text) is not None
        )

    return is_one


def _not_finite(difference: Difference) -> bool:
    """Texts that are the same but for how NaN or an infinity is written."""
    one, other = difference.ours, difference.theirs
    return one.kind == other.kind == "value" and (
        re.sub("NaN|[+]?Inf", _theirs, str(one.content))
        == str(other.content).replace("-nan", "nan")
    )


def _theirs(found: re.Match[str]) -> str:
    return "nan" if found[0] == "NaN" else "inf"


def _fraction(difference: Difference) -> bool:
    """Texts of times that are the same but for zeros at the end of the fraction."""
    one, other = difference.ours, difference.theirs
    return one.kind == other.kind == "value" and (
        str(one.content) == re.sub(r"(\.\d*[1-9])0+(?=[sZ])", r"\1", str(other.content))
    )


def _order(difference: Difference) -> bool:
    """Lists of the same elements, made by a macro or a template."""
    one, other = difference.ours, difference.theirs
    return (
        one.kind == other.kind == "value"
        and one.content[0] == other.content[0] == "list"
        and sorted(map(str, one.content[1])) == sorted(map(str, other.content[1]))
        and re.search(r"\.(map|filter)\(", difference.text) is not None
    )


_NAMES: Final = "|".join(generation.NAMES)
# A call or an addition whose result depends on what is dyn.
_OF_DYN: Final = re.compile(
    r"\.reverse\(\)|\.or(Value)?\(|"
    rf"\b({_NAMES})\b.* \+ | \+ .*\b({_NAMES})\b",
    re.DOTALL,
)


def _of_dyn(difference: Difference) -> bool:
    """Whether the other checker took a dyn for what it is used with."""
    one, other = difference.ours, difference.theirs
    return (
        other.kind == "refused"
        and one.kind != "refused"
        and _OF_DYN.search(difference.text) is not None
        and re.search(
            "found no matching overload|cannot be the (range|operand)", other.content
        )
        is not None
    )


_NUMBER: Final = "(int|uint|double)"
_APPLIED: Final = "found no matching overload for '[^']*' applied to "
_OPTIONAL_OF_DYN: Final = re.compile(r"optional\(dyn\)")


def _optional_of_dyn(difference: Difference) -> bool:
    """Whether ours knows something for optional that is dyn to the other checker."""
    one, other = difference.ours, difference.theirs
    if not difference.checked:
        return False
    if one.kind == "refused" and other.kind != "refused":
        return _OPTIONAL_OF_DYN.search(one.content) is not None
    if other.kind == "refused" and one.kind != "refused":
        return "expected type 'optional_type(dyn)' but found 'dyn'" in other.content
    return False


KNOWN: Final = (
    Known(
        "Numbers of two types have an order",
        _refused(
            rf"{_APPLIED}'\((?P<one>{_NUMBER}), (?!(?P=one)\)){_NUMBER}\)'",
        ),
    ),
    Known("An index of an optional kind is optional", _optional_of_dyn),
    Known("What is looked up in dyn is dyn", _of_dyn),
    Known(
        "A field of an empty map is dyn",
        _refused("'dyn' cannot be the range of a comprehension"),
    ),
    Known(
        "An optional in an optional",
        _refused(r"'optional_type\(.*\)' cannot be the operand of a select operation"),
    ),
    Known(
        "More conversions are declared there",
        _ours_refuses(r"no matching overload for (int\(duration|duration\(int)"),
    ),
    Known("A bool becomes no int", _ours_fails(r"no such overload: int\(bool\)")),
    Known(
        "No map has a key that can be none",
        _fails("value", "No matching overloads found : @in"),
    ),
    Known(
        "A list has elements under whole numbers of any type",
        _fails("value", r"No matching overloads found : _\[\?_\](\(list, \w+\))?$"),
    ),
    Known(
        "A number's text is decimal, without spaces",
        _ours_fails(r"cannot convert '(\s.*|.*\s|[+-]?0[xX].*)' to "),
    ),
    Known(
        "Timestamps in small letters, and leap seconds",
        _ours_fails("invalid timestamp '.*([tz]|:60)"),
    ),
    Known("Time zones have a sign and a day's hours", _ours_fails("time zone")),
    Known("1 and 1u are one key", _ours_fails("repeated key in a map: ")),
    Known("A literal beyond all doubles", _ours_refuses("double literal .* is out of")),
    Known("Bytes in a template", _ours_fails("bytes are no UTF-8")),
    Known("The order of a map's keys", _order),
    Known("How NaN and infinities are written", _not_finite),
    Known("How fractions of a second are written", _fraction),
    Known("A double in a template", _values(r"%[ds].*\.format\(")),
    Known(
        "A constant template or pattern is tested by the checker",
        _ours_refuses("could not parse formatting clause|invalid regular expression"),
    ),
    Known("The empty string has no characters", _values(r"''\.split\(|\.split\(")),
    Known(
        "A substring up to the end",
        _fails("value", r"^INVALID_ARGUMENT: <string>\.substring"),
    ),
    Known("optFlatMap gives an optional", _ours_fails("optFlatMap needs an optional")),
    Known("NaN is not the greatest", _ours_fails("NaN has no order")),
    Known("A position behind the string", _ours_fails("index out of range")),
    Known(
        "A list has reverse()",
        _fails("value", r"No matching overloads found : \(list\)\.reverse"),
    ),
    Known("Spaces are not base64", _ours_fails("not base64")),
)
