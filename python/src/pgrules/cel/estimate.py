"""What an evaluation can cost at most, from the checked tree alone.

The bound holds for facts within the assumed sizes of :class:`~.limits.Limits`; facts
may be larger, then the limit of the evaluation itself ends what costs too much. Sizes
of literals are exact, sizes of what is computed follow from what it is computed from,
and what a loop's body costs is multiplied by the turns. The charges are those of
``interpreter`` and of the libraries: where a function charges otherwise, it must here.

Nested loops over the same list would be refused if each element were assumed as large
as a whole list can be. So a size has two measures of what comparing a value costs: the
*whole*, which no single value exceeds, and the *share*, which is the average over the
turns of the loops around it. Wherever work grows in proportion to a value, the shares
add up to what all turns cost together; wherever it grows faster, the whole counts.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from . import source
from .checked import (
    Bind,
    Bound,
    Chain,
    Checked,
    Choice,
    Constant,
    Field,
    Invoke,
    Local,
    Loop,
    MakeList,
    MakeMap,
    MakeOptionalList,
    MakeOptionalMap,
    OptionalField,
    PairLoop,
    Variable,
)
from .evaluation import CHARACTERS_PER_UNIT
from .interpreter import body_cost, straight_cost
from .limits import DEFAULT_LIMITS, Limits
from .types import DYN, ObjectType, Type, unwrapped

if TYPE_CHECKING:
    from .environment import Environment
    from .errors import Problem

MAX_ESTIMATE: Final = (1 << 63) - 1
"""Estimates beyond all limits end here; it is what ``bigint`` can hold."""

# Sizes are bounded, as replacing in what was replaced squares them each time. What is
# so large costs more to make than any limit allows.
_LARGEST: Final = 1 << 62


class Size:
    """What a value can be at most; a number is 0 in all but ``digits``.

    ``text``: characters of a string or bytes. ``count``: elements of a list or map.
    ``whole`` and ``share``: units that comparing all of it costs, at most and on
    average. ``digits``: characters of the longest number that is somewhere in it, and
    of a map's key. ``part``: of its elements; ``key``: of a map's keys where they are
    not facts. An optional is as its value.
    """

    __slots__ = ("count", "digits", "key", "part", "share", "text", "whole")

    def __init__(
        self,
        text: int = 0,
        count: int = 0,
        whole: int = 0,
        share: int = 0,
        digits: int = 0,
        part: Size | None = None,
        key: Size | None = None,
    ) -> None:
        self.text = min(text, _LARGEST)
        self.count = min(count, _LARGEST)
        self.whole = min(whole, _LARGEST)
        self.share = min(share, whole, _LARGEST)
        self.digits = min(digits, _LARGEST)
        self.part = part
        self.key = key

    def sharing(self, share: int) -> Size:
        """The same with another share."""
        size = Size(
            self.text, self.count, self.whole, share, self.digits, self.part, self.key
        )
        if self.part is self:
            size.part = size
        return size

    def within(self, share: int) -> Size:
        """The same with a share that is no larger."""
        return self if share >= self.share else self.sharing(share)

    @property
    def units(self) -> int:
        """What one pass over the characters of a string costs, on average."""
        return min(self.text // CHARACTERS_PER_UNIT, self.share)

    @property
    def characters(self) -> int:
        """The characters of a string, on average."""
        return min(self.text, (self.share + 1) * CHARACTERS_PER_UNIT)

    def written(self, units: int) -> int:
        """Characters of it in a text, where comparing it costs so many units.

        With each unit come ten characters at most, a number, a separator and quotes.
        """
        if not self.count:
            return min(self.text, (units + 1) * CHARACTERS_PER_UNIT) + self.digits
        return (units + 1) * (max(self.digits, CHARACTERS_PER_UNIT) + 14)

    @property
    def elements(self) -> int:
        """The elements of a list or map, on average."""
        return min(self.count, self.share)


# What %s writes of the smallest and the greatest double, which string() does not.
_DIGITS: Final = 340
# Numbers of the facts: those of 64 bits, and doubles that people write.
_FACT_DIGITS: Final = 25
_NUMBER: Final = Size(digits=_DIGITS)
# The longest text of any other value that has no size: an address, a type's name.
_NAMED: Final = Size(digits=64)
_FIXED: Final = frozenset({_NUMBER, _NAMED})

_SCALARS: Final = {
    "bool": _NAMED,
    "double": _NUMBER,
    "google.protobuf.Duration": _NAMED,
    "google.protobuf.Timestamp": _NAMED,
    "int": _NAMED,
    "net.CIDR": _NAMED,
    "net.IP": _NAMED,
    "null_type": _NAMED,
    "type": _NAMED,
    "uint": _NAMED,
}


def _text(characters: int, share: int | None = None) -> Size:
    units = characters // CHARACTERS_PER_UNIT
    return Size(characters, 0, units, units if share is None else share)


def _list(part: Size, count: int) -> Size:
    """A list of elements of a size."""
    return Size(
        0,
        count,
        count * (1 + part.whole),
        count * (1 + part.share),
        part.digits,
        _kept(part),
    )


def _keyed(made: Size, key: Size | None) -> Size:
    """A map of these values, with keys that are no facts' and not in its weight."""
    if key is not None:
        made.key = key
        made.digits += key.text + key.digits
    return made


def _kept(part: Size) -> Size:
    """An element that outlives its loop: read later, it may be the largest of all."""
    return part if part.share == part.whole else part.sharing(part.whole)


def _either(one: Size, other: Size, *, kept: bool = False) -> Size:
    """A value that is one or the other; an element that is ``kept``."""
    if one is other:
        return _kept(one) if kept else one
    whole = max(one.whole, other.whole)
    joined = Size(
        max(one.text, other.text),
        max(one.count, other.count),
        whole,
        # Each may be the one that is large in the turns in which it is taken.
        whole if kept else one.share + other.share,
        max(one.digits, other.digits),
    )
    if one.part is None or other.part is None:
        joined.part = one.part or other.part
    elif one.part is one and other.part is other:
        joined.part = joined
    else:
        joined.part = _either(one.part, other.part, kept=True)
    if one.key is None or other.key is None:
        joined.key = one.key or other.key
    else:
        joined.key = _either(one.key, other.key, kept=True)
    return joined


class _Assumed(NamedTuple):
    """What facts are taken for."""

    fact: Size
    text: Size
    elements: int


@cache
def _assumed(limits: Limits) -> _Assumed:
    whole = limits.assumed_weight
    fact = Size(
        limits.assumed_characters,
        limits.assumed_elements,
        whole,
        whole,
        _FACT_DIGITS,
    )
    fact.part = fact
    return _Assumed(fact, _text(limits.assumed_characters), limits.assumed_elements)


# Hashing limits takes as long as estimating a small rule.
_DEFAULT: Final = _assumed(DEFAULT_LIMITS)


class Estimate(NamedTuple):
    """The cost of an evaluation at most, and the part that most of it comes from."""

    cost: int
    part: Checked
    turns: int


def estimate(tree: Checked, environment: Environment) -> Estimate:
    """What an evaluation can cost at most, over facts of the assumed sizes.

    The tree is one that inference has seen.
    """
    estimator = _Estimator(environment)
    estimator.visit(tree)
    cost = straight_cost(tree) + estimator.cost
    part, turns = estimator.grown or estimator.largest or (tree, 1)
    return Estimate(min(cost, MAX_ESTIMATE), part, turns)


def too_costly(found: Estimate, text: str, limits: Limits) -> Problem | None:
    """The problem of an expression that can cost more than the limit allows."""
    if found.cost <= limits.cost:
        return None
    part = found.part
    if isinstance(part, Loop | PairLoop):
        place, what = part.place, f"{part.kind} makes it grow"
    elif isinstance(part, Invoke):
        place, what = part.place, "this makes it grow"
    else:
        place, what = part.origin.start, "this makes it grow"
    if found.turns > 1:
        what += f", as it runs up to {found.turns:,} times"
    cost = f"{found.cost:,}" if found.cost < MAX_ESTIMATE else "far more"
    return source.problem(
        text,
        place,
        f"an evaluation can cost {cost} units, of {limits.cost:,} allowed: {what}",
        "nest fewer loops, or take the inner one over less; lists and maps of the "
        f"facts are taken for {limits.assumed_elements:,} elements, strings for "
        f"{limits.assumed_characters:,} characters",
    )


class _Estimator:
    """The cost so far beyond that of the nodes, and what it comes from.

    ``times`` is how often the part that is looked at is evaluated. ``grown`` is the
    innermost part that costs more than the limit by itself, ``largest`` the part that
    costs most; each with how often it is evaluated.
    """

    def __init__(self, environment: Environment) -> None:
        self.environment = environment
        self.limit = environment.limits.cost
        limits = environment.limits
        self.assumed = _DEFAULT if limits is DEFAULT_LIMITS else _assumed(limits)
        self.locals: dict[int, Size] = {}
        self.derived: dict[str, Size] = {}
        # What size() gives at most, by the identity of the call.
        self.measured: dict[int, int] = {}
        self.cost = 0
        self.times = 1
        self.grown: tuple[Checked, int] | None = None
        self.largest: tuple[Checked, int] | None = None
        self.most = 0

    def visit(self, node: Checked) -> Size:
        size = _VISITORS[type(node)](self, node)
        return _SCALARS.get(node.type.name) or size

    def charge(self, node: Checked, units: int) -> None:
        self.cost += units
        total = units * self.times
        if total > self.most:
            self.most = total
            self.largest = node, self.times
            # Else it is the loops around that make it grow.
            if total > self.limit and self.grown is None and units >= self.times:
                self.grown = node, self.times

    # Names

    def constant(self, node: Constant) -> Size:
        value = node.value
        if type(value) is str or type(value) is bytes:
            return _text(len(value))
        return _NAMED

    def variable(self, node: Variable) -> Size:
        of = node.conversion
        if isinstance(of, str):
            self.convert(node, of)
        elif of is not None:
            texts = sum(declared in _READ for declared in of.declared.values())
            self.charge(node, len(of.declared) + texts * self.assumed.text.whole)
        if node.name in self.environment.derived:
            return self.derived_field(node.name)
        return self.of_type(node.type)

    def of_type(self, of: Type) -> Size:
        """A fact of a type, which may be declared."""
        if of is DYN:
            return self.assumed.fact
        of = unwrapped(of)
        if of.name in ("string", "bytes"):
            return self.assumed.text
        return _SCALARS.get(of.name) or self.assumed.fact

    def convert(self, node: Checked, declared: str) -> None:
        """Reading a declared fact: text is read through, and a list's elements."""
        if declared in _READ:
            self.charge(node, self.assumed.text.whole)
        elif declared.startswith("list("):
            self.charge(node, self.assumed.fact.whole)

    def derived_field(self, name: str) -> Size:
        """A derived field, which the facts may supply. Its cost is not the rule's."""
        # Without recursion: a chain of derived fields may be long.
        derived, known = self.environment.derived, self.derived
        pending = [name]
        while pending:
            if pending[-1] in known:
                pending.pop()
                continue
            field = derived[pending[-1]]
            first = [n for n in field.dependencies if n in derived and n not in known]
            if first:
                pending += first
                continue
            inner = _Estimator(self.environment)
            inner.derived = known
            computed = inner.visit(field.tree)
            known[pending.pop()] = _either(computed, self.of_type(field.type))
        return known[name]

    def local(self, node: Local | Bound) -> Size:
        return self.locals[node.slot]

    def bind(self, node: Bind) -> Size:
        for slot, value in node.bindings:
            self.locals[slot] = self.visit(value)
        return self.visit(node.body)

    # Parts

    def inside(self, container: Size) -> Size:
        """An element, or a map's value."""
        part = container.part
        return _NAMED if part is None else part.within(container.share)

    def field(self, node: Field | OptionalField) -> Size:
        operand = node.operand
        if (
            type(operand) is Variable
            and operand.type is DYN
            and operand.name not in self.environment.derived
        ):
            # By far the most fields.
            return self.assumed.fact
        container = self.visit(operand)
        if node.conversion is not None:
            self.convert(node, node.conversion)
        if type(node.operand.type) is ObjectType:
            return self.of_type(node.type)
        return self.inside(container)

    # Operators with a node of their own

    def chain(self, node: Chain) -> Size:
        for operand in node.operands:
            self.visit(operand)
        return _NAMED

    def choice(self, node: Choice) -> Size:
        self.visit(node.condition)
        start = self.cost
        then = self.visit(node.then)
        middle = self.cost
        otherwise = self.visit(node.otherwise)
        if self.times == 1:
            # In a loop the turns may take either.
            self.cost = max(middle, start + self.cost - middle)
        return _either(then, otherwise)

    def make_list(self, node: MakeList | MakeOptionalList) -> Size:
        return _collected([self.visit(element) for element in node.elements])

    def make_map(self, node: MakeMap | MakeOptionalMap) -> Size:
        keys, values = [], []
        for key, value in node.entries:
            keys.append(self.visit(key))
            values.append(self.visit(value))
        made = _collected(values)
        return _keyed(made, _collected(keys).part)

    # Loops

    def loop(self, node: Loop) -> Size:
        container = self.visit(node.range)
        if node.kind in ("optMap", "optFlatMap"):
            self.locals[node.slot] = container
            return self.turns(node, 1)
        element = self.element(container)
        if container.key is not None:
            element = _either(element, container.key)
        self.locals[node.slot] = element
        made = self.turns(node, container.count)
        if node.kind == "filter":
            if container.key is not None:
                return _list(element, container.count)
            return container
        if node.kind == "sortBy":
            # Their characters are added up before they are counted by tens.
            keys = container.count * (made.units + 1)
            self.charge(node, _sorting(container.count, keys))
            return container
        return self.collected(made, container.count)

    def collected(self, made: Size, count: int) -> Size:
        """The list of what the turns of a loop make."""
        result = _list(made, count)
        if self.times == 1:
            # There is one such list: what all turns make together is all of it.
            result.whole = result.share
        return result

    def pair_loop(self, node: PairLoop) -> Size:
        container = self.visit(node.range)
        element = self.element(container)
        key = container.key
        if key is None:
            key = self.assumed.text.within(element.share)
        self.locals[node.slot] = key
        self.locals[node.second_slot] = element
        made = self.turns(node, container.count)
        count = container.count
        if node.kind == "transformMapEntry":
            self.charge(node, count * made.elements)
            count *= made.count
            key, made = made.key or self.assumed.text, self.inside(made)
        result = self.collected(made, count)
        if node.kind != "transformList":
            return _keyed(result, _kept(key))
        return result

    def element(self, container: Size) -> Size:
        """A loop's variable; over all turns, elements are no more than the whole."""
        part = container.part
        if part is None:
            return _NAMED
        turns = max(container.count, 1)
        return part.within(-(-container.share // turns))

    def turns(self, node: Loop | PairLoop, count: int) -> Size:
        """The size of what a loop makes in a turn, and the cost of all turns."""
        before, times = self.cost, self.times
        self.cost, self.times = 0, min(times * max(count, 1), MAX_ESTIMATE)
        made = _NAMED
        if node.condition is not None:
            self.visit(node.condition)
        if node.transform is not None:
            made = self.visit(node.transform)
        inner = self.cost
        self.cost, self.times = before, times
        units = min(count * (body_cost(node) + inner), MAX_ESTIMATE)
        if units * times > self.limit and self.grown is None:
            self.grown = node, min(times * count, MAX_ESTIMATE)
        self.charge(node, units)
        return made

    # Calls

    def invoke(self, node: Invoke) -> Size:
        sizes = [self.visit(argument) for argument in node.arguments]
        rule = _FUNCTIONS.get(node.function.name)
        if rule is None:
            # A function of a library that is not ours may look at everything.
            self.charge(node, sum(size.whole + size.text for size in sizes))
            return self.assumed.fact
        return rule(self, node, sizes)


_READ: Final = frozenset({"bytes", "double", "timestamp", "duration"})
"""Declared types whose facts are text that is read, which is charged."""


def _collected(sizes: list[Size]) -> Size:
    """A list of elements that are known one by one."""
    if not sizes:
        return Size()
    part = sizes[0]
    for size in sizes:
        part = _either(part, size, kept=True)
    return Size(
        0,
        len(sizes),
        len(sizes) + sum(size.whole for size in sizes),
        len(sizes) + sum(size.share for size in sizes),
        part.digits,
        _kept(part),
    )


# Functions: what they charge, and the size of what they give.

_Rule = Callable[[_Estimator, Invoke, list[Size]], Size]


def _nothing(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    """A function that charges nothing and gives a number, a bool or a time."""
    return _NUMBER


def _reading(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    """A function that reads its first argument once."""
    found.charge(node, sizes[0].units)
    return _NUMBER


def _second(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    """A function that reads its second argument once, which may be text."""
    found.charge(node, sizes[1].units)
    return _NAMED


def _same(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    return sizes[0]


def _same_text(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    """A function that gives a string no longer than the one that it reads."""
    found.charge(node, sizes[0].units)
    return _text(sizes[0].text, sizes[0].units)


def _equality(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    found.charge(node, min(sizes[0].share, sizes[1].share))
    return _NAMED


def _order(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    found.charge(node, min(sizes[0].units, sizes[1].units))
    return _NAMED


def _addition(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    one, other = sizes
    if one in _FIXED or other in _FIXED:
        # Numbers and times: they are added to nothing that has a size.
        return _NUMBER
    units = one.share + other.share + 1
    text = one.text + other.text
    count = one.count + other.count
    found.charge(node, min(units, max(text // CHARACTERS_PER_UNIT, count)))
    joined = _either(one, other)
    return Size(
        text,
        count,
        one.whole + other.whole + 1,
        units,
        joined.digits,
        None if joined.part is None else _kept(joined.part),
    )


def _element(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    """An index, or the first or the last."""
    return found.inside(sizes[0])


def _membership(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    element, container = sizes
    compared = min(container.count * element.share, container.share)
    if node.arguments[0].type.name == "string":
        compared = 0
    found.charge(node, container.count + compared)
    return _NAMED


def _matches(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    found.charge(node, _search(sizes))
    return _NAMED


def _search(sizes: list[Size]) -> int:
    text, pattern = sizes[:2]
    return (1 + text.units) * (1 + pattern.text // 4)


def _to_string(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    (value,) = sizes
    found.charge(node, value.units)
    return _text(max(value.text, _NAMED.digits), value.units + 7)


def _to_bytes(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    found.charge(node, sizes[0].units)
    return _text(4 * sizes[0].text, 4 * sizes[0].units + 4)


# Strings


def _char(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    return _text(1)


def _quoted(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    found.charge(node, sizes[0].units)
    return _text(2 * sizes[0].text + 4, 2 * sizes[0].units + 3)


def _replaced(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    text, _, new = sizes[:3]
    # The empty string is found at each character and at the end.
    added = (text.characters + 1) * new.text // CHARACTERS_PER_UNIT
    found.charge(node, text.units + added)
    return _text(text.text + (text.text + 1) * new.text, text.units + added + 1)


def _split(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    text = sizes[0]
    found.charge(node, text.units + text.characters + 1)
    parts = text.text + 1
    part = _text(text.text)
    return Size(
        0,
        parts,
        parts + part.whole,
        text.characters + 1 + text.units,
        0,
        part,
    )


def _joined(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    parts = sizes[0]
    between = sizes[1].text if len(sizes) > 1 else 0
    each = _NAMED if parts.part is None else parts.part
    # What is left of each element when its characters are counted by tens.
    tens = CHARACTERS_PER_UNIT
    text = min(parts.count * each.text, tens * (parts.whole + parts.count))
    count = parts.elements
    share = min(count * each.units, parts.share) + count + count * between // tens + 1
    found.charge(node, count + share)
    return _text(text + parts.count * between, share)


def _formatted(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    template, arguments = sizes
    constant = node.arguments[0]
    letters = "%s%.x"
    if isinstance(constant, Constant) and type(constant.value) is str:
        letters = constant.value
    if not arguments.count:
        found.charge(node, template.units)
        return _text(template.text, template.units)
    # Each clause takes an argument.
    count = min(arguments.count, template.text // 2)
    part = found.inside(arguments)
    share = part.share
    if isinstance(node.arguments[1], MakeList):
        # All arguments together, which are known one by one.
        share = -(-arguments.share // arguments.count)
    longest = _clause(letters, part, part.whole)
    average = min(longest, _clause(letters, part, share)) // CHARACTERS_PER_UNIT + 1
    # Elements and characters of an argument, and the text that it becomes.
    found.charge(node, template.units + count * (10 * share + 2 * average))
    return _text(template.text + count * longest, template.units + count * average + 1)


def _clause(letters: str, value: Size, units: int) -> int:
    """The characters that a value becomes in a template."""
    text = min(value.text, (units + 1) * CHARACTERS_PER_UNIT)
    # In hexadecimal a code point has eight digits at most.
    text *= 8 if "x" in letters or "X" in letters else 1
    if "%s" in letters:
        text += value.written(units)
    # 64 bits have 64 digits.
    digits = 66
    if "%." in letters:
        digits = 1_400
    elif "%f" in letters:
        digits = _DIGITS
    return text + max(digits, value.digits)


# Lists


def _slice(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    found.charge(node, sizes[0].elements)
    return sizes[0]


def _reversed(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    (value,) = sizes
    found.charge(node, max(value.units, value.elements))
    return value


def _flattened(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    elements = sizes[0]
    passes = 1
    if len(sizes) > 1:
        depth = node.arguments[1]
        value = depth.value if isinstance(depth, Constant) else _DEEPEST
        passes = min(value, _DEEPEST) if type(value) is int else 1
    # A pass charges for the list before and after; both have no more elements than
    # there are in all levels.
    found.charge(node, passes * 2 * elements.share)
    part, result = elements.part, elements.part
    for _ in range(max(passes, 0)):
        if part is None or part.part is None or part.part is part or result is None:
            break
        part = part.part
        result = _either(result, part, kept=True)
    return Size(
        0,
        elements.whole,
        elements.whole,
        elements.share,
        elements.digits,
        result,
    )


_DEEPEST: Final = 100


def _range(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    (number,) = node.arguments
    count = found.assumed.elements
    if isinstance(number, Constant):
        count = max(number.value, 0) if type(number.value) is int else 0
    elif isinstance(number, Invoke) and number.function.name == "size":
        count = max(found.measured.get(id(number), 0), 0)
    found.charge(node, count)
    return _list(_NAMED, count)


def _size(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    found.measured[id(node)] = max(sizes[0].text, sizes[0].count)
    return _NAMED


def _sorted(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    (elements,) = sizes
    found.charge(node, _sorting(elements.count, elements.share))
    return elements


def _sorting(count: int, characters: int) -> int:
    """The cost of sorting so many by keys that cost so much to compare once each."""
    return count * count.bit_length() + characters


def _distinct(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    (elements,) = sizes
    units = elements.count
    if not _is_hashed(node.arguments[0]):
        units += elements.count * (elements.count + elements.share)
    found.charge(node, units)
    return elements


def _is_hashed(node: Checked) -> bool:
    """Whether the elements of a list surely are in Python's sets as in CEL's."""
    of = node.type
    return (
        of.name == "list" and bool(of.parameters) and (of.parameters[0].name in _HASHED)
    )


_HASHED: Final = frozenset(
    (
        *("bytes", "google.protobuf.Duration", "google.protobuf.Timestamp"),
        *("int", "string", "uint"),
    )
)


def _sets(times: int) -> _Rule:
    def rule(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
        one, other = sizes
        units = one.count + other.count
        if not all(map(_is_hashed, node.arguments)):
            units += one.count * other.count
            units += min(other.count * one.share, one.count * other.share)
        found.charge(node, times * units)
        return _NAMED

    return rule


def _extreme(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    if len(sizes) == 1:
        found.charge(node, sizes[0].elements)
    return _NUMBER


# Optionals


def _alternative(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    return _either(*sizes)


def _unwrapped(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    found.charge(node, sizes[0].elements)
    return sizes[0]


# Regular expressions


def _extracted(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    found.charge(node, _search(sizes))
    return _text(sizes[0].text)


def _all_extracted(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    found.charge(node, _search(sizes) + _every_match(sizes))
    text = sizes[0].text
    return _list(_text(text), text + 1)


def _every_match(sizes: list[Size]) -> int:
    """Matches are one more than characters, each looks at what is behind it."""
    text = sizes[0].text
    return (text + 1) * (1 + text // 100)


def _replaced_matches(found: _Estimator, node: Invoke, sizes: list[Size]) -> Size:
    text, _, new = sizes[:3]
    matches = text.text + 1
    # Groups of two characters each, each as long as its match, which do not overlap.
    made = matches * new.text + (new.text // 2) * text.text
    # Two parts take three characters at least: a text of one, and a group.
    parts = matches * (2 * new.text // 3 + 1)
    found.charge(
        node,
        _search(sizes) + _every_match(sizes) + parts + made // CHARACTERS_PER_UNIT,
    )
    return _text(text.text + made)


def _rules() -> dict[str, _Rule]:
    groups: tuple[tuple[_Rule, str], ...] = (
        (_equality, "_==_ _!=_"),
        (_order, "_<_ _<=_ _>_ _>=_"),
        (_addition, "_+_"),
        (_nothing, "_-_ _*_ _/_ _%_ -_ !_ type hasValue optional.none"),
        (_nothing, "getDate getDayOfMonth getDayOfWeek getDayOfYear getFullYear"),
        (_nothing, "getHours getMilliseconds getMinutes getMonth getSeconds"),
        (_nothing, "math.abs math.bitAnd math.bitNot math.bitOr math.bitShiftLeft"),
        (_nothing, "math.bitShiftRight math.bitXor math.ceil math.floor math.round"),
        (_nothing, "math.isFinite math.isInf math.isNaN math.sign math.sqrt"),
        (_nothing, "math.trunc family isGlobalUnicast isLinkLocalMulticast"),
        (_nothing, "isLinkLocalUnicast isLoopback isUnspecified masked prefixLength"),
        (_element, "_[_] _[?_] first last"),
        (_membership, "@in"),
        (_size, "size"),
        (_same, "dyn optional.of optional.ofNonZeroValue value"),
        (_reading, "contains indexOf lastIndexOf"),
        (_second, "startsWith endsWith"),
        (_reading, "int uint double bool timestamp duration"),
        (_second, "containsIP containsCIDR"),
        (_reading, "ip cidr isIP isCIDR ip.isCanonical"),
        (_matches, "matches"),
        (_to_string, "string"),
        (_to_bytes, "bytes"),
        (_char, "charAt"),
        (_same_text, "substring lowerAscii upperAscii trim base64.decode"),
        (_quoted, "strings.quote base64.encode"),
        (_replaced, "replace"),
        (_split, "split"),
        (_joined, "join"),
        (_formatted, "format"),
        (_slice, "slice"),
        (_reversed, "reverse"),
        (_flattened, "flatten"),
        (_range, "lists.range"),
        (_sorted, "sort"),
        (_distinct, "distinct"),
        (_sets(1), "sets.contains sets.intersects"),
        (_sets(2), "sets.equivalent"),
        (_extreme, "math.greatest math.least"),
        (_alternative, "or orValue"),
        (_unwrapped, "optional.unwrap unwrapOpt"),
        (_extracted, "regex.extract"),
        (_all_extracted, "regex.extractAll"),
        (_replaced_matches, "regex.replace"),
    )
    return {name: rule for rule, names in groups for name in names.split()}


_FUNCTIONS: Final = _rules()

_VISITORS: Final[dict[type, Callable[[_Estimator, Any], Size]]] = {
    Bind: _Estimator.bind,
    Bound: _Estimator.local,
    Chain: _Estimator.chain,
    Choice: _Estimator.choice,
    Constant: _Estimator.constant,
    Field: _Estimator.field,
    Invoke: _Estimator.invoke,
    Local: _Estimator.local,
    Loop: _Estimator.loop,
    MakeList: _Estimator.make_list,
    MakeMap: _Estimator.make_map,
    MakeOptionalList: _Estimator.make_list,
    MakeOptionalMap: _Estimator.make_map,
    OptionalField: _Estimator.field,
    PairLoop: _Estimator.pair_loop,
    Variable: _Estimator.variable,
}
