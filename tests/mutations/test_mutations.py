"""The list of mutations fits the sources: a text that moved, a test that is gone.

`make test-mutations` tries them; this needs no server and takes a second.
"""

from __future__ import annotations

import ast
import re
from functools import cache
from pathlib import Path

import pytest

from tests.mutations.catalogue import MUTATIONS
from tests.mutations.mutation import (
    Mutation,
    MutationError,
    file_of,
    is_pgtap,
    is_verify,
)
from tests.mutations.run import chosen

ROOT = Path(__file__).resolve().parents[2]

each_mutation = pytest.mark.parametrize(
    "mutation", MUTATIONS, ids=lambda mutation: mutation.name
)


@cache
def source(path: str) -> str:
    return (ROOT / path).read_text(encoding="utf-8")


@cache
def functions(path: str) -> frozenset[str]:
    """The names of a module's test functions, with the class that they are in."""
    found = set()
    for node in ast.parse(source(path)).body:
        match node:
            case ast.FunctionDef(name=name):
                found.add(name)
            case ast.ClassDef(name=name, body=body):
                methods = (n for n in body if isinstance(n, ast.FunctionDef))
                found |= {f"{name}::{method.name}" for method in methods}
    return frozenset(found)


SQL_STRING = re.compile(
    r"--[^\n]*|\$(\w*)\$.*?\$\1\$|'(?P<text>(?:[^']|'')*)'", re.DOTALL
)


@cache
def descriptions(path: str) -> frozenset[str]:
    """The strings of a script, some of which describe its tests, or a part of one."""
    texts = (match["text"] for match in SQL_STRING.finditer(source(path)))
    return frozenset(text.replace("''", "'") for text in texts if text)


def describes(text: str, name: str) -> bool:
    """Whether a string may have made a test's description, which `name` begins."""
    if text.startswith(name):
        return True
    parts = [re.escape(part) for part in re.split("%[sIL]", text)]
    return len("".join(parts)) > 8 and bool(re.search(".*".join(parts), name))


def exists(test: str) -> bool:
    path, _, name = test.partition("::")
    if not (ROOT / path).is_file():
        return False
    if is_verify(test):
        return True
    if not is_pgtap(test):
        return name in functions(path)
    return any(describes(text, name) for text in descriptions(path))


def test_there_are_enough_of_them_and_each_has_a_name_of_its_own() -> None:
    names = [mutation.name for mutation in MUTATIONS]
    assert len(set(names)) == len(names) >= 30


@each_mutation
def test_a_mutation_fits_the_sources(mutation: Mutation) -> None:
    mutated = mutation.applied(source(mutation.path))
    assert mutated != source(mutation.path)
    if mutation.path.endswith(".py"):
        # A test that fails on a syntax error has noticed nothing.
        ast.parse(mutated)


@each_mutation
def test_the_tests_that_a_mutation_names_exist(mutation: Mutation) -> None:
    assert mutation.caught_by
    assert [test for test in mutation.caught_by if not exists(test)] == []


@each_mutation
def test_a_mutation_says_what_it_endangers(mutation: Mutation) -> None:
    assert re.fullmatch(r"[a-z]+(-[a-z0-9]+)+", mutation.name)
    assert mutation.danger.endswith(".")
    assert file_of(mutation.path) == mutation.path


def mutation_of(text: str, *, after: str = "", replacement: str = "x") -> Mutation:
    return Mutation("a-name", "a/file", text, replacement, "None.", (), after=after)


def test_the_first_text_after_the_anchor_is_replaced() -> None:
    assert mutation_of("b", after="a").applied("b a b b") == "b a x b"


@pytest.mark.parametrize(
    "mutation",
    [
        mutation_of("c"),
        mutation_of("b"),
        mutation_of("b", after="b"),
        mutation_of("a", after="a"),
        mutation_of("b", after="c"),
        mutation_of("a", replacement="a"),
    ],
    ids=["missing", "twice", "anchor twice", "before", "no anchor", "nothing"],
)
def test_a_text_that_is_not_found_once_is_refused(mutation: Mutation) -> None:
    with pytest.raises(MutationError):
        mutation.applied("b a b")


@pytest.mark.parametrize(
    "test",
    [
        "tests/unit/test_nowhere.py::test_x",
        "tests/mutations/test_mutations.py::test_nothing_like_it",
        "tests/pgtap/catalog.sql::Every table belongs to nobody",
    ],
)
def test_a_test_that_is_not_there_is_noticed(test: str) -> None:
    assert not exists(test)


def test_mutations_are_chosen_by_name() -> None:
    assert chosen([]) == list(MUTATIONS)
    assert chosen([MUTATIONS[3].name]) == [MUTATIONS[3]]
    with pytest.raises(SystemExit, match="no-such-one"):
        chosen(["no-such-one"])
