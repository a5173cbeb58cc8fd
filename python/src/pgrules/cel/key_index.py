"""Access keys as rows of an index, and facts as questions to it.

A key becomes an :class:`Entry`: a *term*, 64 bits of a hash over what the key looks at
and the values that it wants there, and for a range its two ends. What keys of one form
look at is their *shape*; the shapes of all keys say which terms some facts have. So an
index needs to find integers, and intervals around an integer, and nothing else.

Intervals are found as in a relational interval tree (Kriegel, Pötke, Seidl: "Managing
Intervals Efficiently in Object-Relational Databases", VLDB 2000). Each belongs to one
node of a binary tree over all coordinates, the topmost that lies in it, which is part
of the term. The facts' value has one node at each level that could be it; of those at
or below the value the interval must end at the value or behind, of those above it must
begin at the value or before. A shape with a range has a row for each level in use.

Hashes may collide, and shapes may be made coarser where a tenant's rules would have too
many: more rules are then looked at than need be, never fewer.
"""

from __future__ import annotations

import json
from hashlib import blake2b
from itertools import product
from typing import TYPE_CHECKING, Final, NamedTuple

from .key_values import (
    HIGHEST,
    LOWEST,
    Attribute,
    Path,
    canonical,
    coordinate,
    read,
)
from .keys import Equal, Key, Keys, first_path, rank

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from .facts import Facts

ALWAYS: Final = 0
"""The term of rules that have no keys; all facts have it."""

# Shapes that keys may have: of several parts, of one, and of a part of a path. Each
# costs the look-up of facts that have its fields some microseconds.
_MOST_JOINED: Final = 64
_MOST_SINGLE: Final = 512
_MOST_ROOTS: Final = 640


class Entry(NamedTuple):
    """A key in the index; ``low`` and ``high`` are the ends of its range."""

    term: int
    low: int | None = None
    high: int | None = None


class Questions(NamedTuple):
    """Which entries of an index hold in some facts.

    Those of one of the ``terms``, without a range; of a term ``above`` if they end at
    its value or behind it, and of a term ``below`` if they begin there or before.
    """

    terms: set[int]
    above: list[tuple[int, int]]
    below: list[tuple[int, int]]

    def finds(self, entry: Entry) -> bool:
        """Whether an entry is among those that hold."""
        term, low, high = entry
        if low is None or high is None:
            return term in self.terms
        return any(t == term and high >= end for t, end in self.above) or any(
            t == term and low <= end for t, end in self.below
        )


class Shape(NamedTuple):
    """The attributes that a key's values are of, and its range's with its kind."""

    equals: tuple[Attribute, ...]
    within: Attribute | None = None
    kind: str = ""


class Shapes:
    """The shapes of the keys in an index, with the levels of those with a range.

    As text each is a JSON array: the level or null, the values' attributes, and the
    range's; an attribute is its reading, its prefix's length and its path.
    """

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self.levels: dict[Shape, set[int]] = {}
        self.added: list[str] = []
        self._seeds: dict[Shape, bytes] = {}
        for text in texts:
            level, equals, within, kind = json.loads(text)
            shape = Shape(
                tuple(map(_attribute, equals)), within and _attribute(within), kind
            )
            levels = self.levels.setdefault(shape, set())
            if level is not None:
                levels.add(level)

    def _add(self, shape: Shape, level: int | None) -> None:
        levels = self.levels.get(shape)
        if levels is None:
            levels = self.levels[shape] = set()
        elif level is None or level in levels:
            return
        if level is not None:
            levels.add(level)
        self.added.append(_text(shape, level))

    def _seed(self, shape: Shape) -> bytes:
        seed = self._seeds.get(shape)
        if seed is None:
            text = _text(shape, None).encode("utf-8", "surrogatepass")
            seed = self._seeds[shape] = blake2b(text, digest_size=16).digest()
        return seed

    # Storing

    def entries(self, keys: Keys) -> set[Entry]:
        """The entries of a rule's keys, whose shapes are added where they are new.

        ``added`` has the texts of those that were.
        """
        if keys.always:
            return {Entry(ALWAYS)}
        if len(keys.alternatives) == 1:
            return {self._entry(keys.alternatives[0])}
        return {self._entry(key) for key in keys.alternatives}

    def _entry(self, key: Key) -> Entry:
        found, shape = self._suitable(key)
        values = [equal.value for equal in found.equals]
        if found.within is None:
            self._add(shape, None)
            return Entry(_term(self._seed(shape), values))
        low, high = found.within.low, found.within.high
        level, node = _fork(low, high)
        self._add(shape, level)
        return Entry(_term(self._seed(shape), values, node), low, high)

    def _suitable(self, key: Key) -> tuple[Key, Shape]:
        """The key, or a wider one where there are too many shapes already."""
        shape = _shape(key)
        if shape in self.levels:
            return key, shape
        for found, most in _coarser(key):
            shape = _shape(found)
            if shape in self.levels or len(self.levels) < most:
                return found, shape
        raise AssertionError("the widest shape is always taken")

    # Looking up

    def questions(self, facts: Facts) -> Questions:
        """What to ask the index for these facts."""
        asked = Questions({ALWAYS}, [], [])
        values: dict[Attribute, list[bytes]] = {}
        for shape, levels in self.levels.items():
            parts = []
            for attribute in shape.equals:
                found = values.get(attribute)
                if found is None:
                    found = values[attribute] = _values(facts, attribute)
                if not found:
                    break
                parts.append(found)
            else:
                seed = self._seed(shape)
                if shape.within is None:
                    asked.terms.update(_term(seed, each) for each in product(*parts))
                else:
                    self._ask(asked, facts, shape, levels, list(product(*parts)))
        return asked

    def _ask(
        self,
        asked: Questions,
        facts: Facts,
        shape: Shape,
        levels: set[int],
        values: list[tuple[bytes, ...]],
    ) -> None:
        """What to ask for a shape with a range."""
        assert shape.within is not None
        seed = self._seed(shape)
        positions = set()
        for value in read(facts, shape.within):
            found = coordinate(value)
            if found is not None and found[0] == shape.kind:
                positions.add(found[1])
        for position in positions:
            for level in levels:
                node = _node(position, level)
                asking = asked.above if position >= node else asked.below
                asking.extend((_term(seed, each, node), position) for each in values)


def _shape(key: Key) -> Shape:
    within = key.within
    equals = tuple([equal.attribute for equal in key.equals])
    if within is None:
        return Shape(equals)
    return Shape(equals, within.attribute, within.kind)


def _attribute(parts: list[str | int | None]) -> Attribute:
    reading, prefix, *path = parts
    assert type(reading) is str
    assert type(prefix) is int
    return Attribute(tuple(path), reading, prefix)


def _listed(attribute: Attribute) -> list[object]:
    return [attribute.reading, attribute.prefix, *attribute.path]


def _text(shape: Shape, level: int | None) -> str:
    within = None if shape.within is None else _listed(shape.within)
    return json.dumps([level, list(map(_listed, shape.equals)), within, shape.kind])


def _values(facts: Facts, attribute: Attribute) -> list[bytes]:
    found = (canonical(value) for value in read(facts, attribute))
    if attribute.reading == "there":
        return [b"" for _ in found][:1]
    return list(dict.fromkeys(value for value in found if value is not None))


def _term(seed: bytes, values: Iterable[bytes], node: int | None = None) -> int:
    """The hash of a shape with its values, which is never that of ``ALWAYS``."""
    parts = [seed]
    for value in values:
        parts += (len(value).to_bytes(8, "big"), value)
    if node is not None:
        parts.append(node.to_bytes(8, "big", signed=True))
    digest = blake2b(b"".join(parts), digest_size=8).digest()
    return int.from_bytes(digest, "big", signed=True) or 1


def _fork(low: int, high: int) -> tuple[int, int]:
    """The level and the node of an interval: the topmost node that lies in it."""
    level = (low - LOWEST ^ high - LOWEST).bit_length()
    return level, _cleared(high, level - 1) if level else high


def _node(position: int, level: int) -> int:
    """The node of a level that an interval around the position can belong to."""
    return _cleared(position, level) + (1 << level >> 1) if level else position


def _cleared(position: int, bits: int) -> int:
    """A coordinate whose last bits are those of the lowest coordinate."""
    return ((position - LOWEST) >> bits << bits) + LOWEST


def _coarser(key: Key) -> Iterator[tuple[Key, int]]:
    """A key and wider ones in its place, each with the shapes that may be before."""
    parts = [Key((equal,)) for equal in key.equals]
    if key.within is not None:
        parts.append(Key((), key.within))
    if len(parts) > 1:
        yield key, _MOST_JOINED
        if key.within is not None and len(key.equals) > 1:
            yield Key(key.equals), _MOST_JOINED
    single = min(parts, key=rank)
    yield single, _MOST_SINGLE
    path = first_path(single)
    if len(path) > 1 and type(path[1]) is str:
        yield _has_key(path[:1], path[1]), _MOST_ROOTS
    assert type(path[0]) is str
    yield _has_key((), path[0]), HIGHEST


def _has_key(path: Path, name: str) -> Key:
    """A map that has a key, as a value among the map's keys."""
    value = canonical(name)
    assert value is not None
    return Key((Equal(Attribute((*path, None), "value"), value, name),))
