"""The extension libraries as a whole: they load late, and their names are known."""

from __future__ import annotations

import subprocess
import sys
from importlib import import_module

import pytest

from pgrules.cel import InvalidExpression, compile_expression
from pgrules.cel.extensions import EXTENSIONS
from pgrules.cel.library import Libraries
from pgrules.cel.standard import STANDARD


def test_the_table_of_names_is_what_the_modules_define() -> None:
    defined = {
        name: module
        for module in set(EXTENSIONS.values())
        for name in import_module(f"pgrules.cel.{module}").LIBRARY
    }
    assert defined == EXTENSIONS


def test_a_function_goes_by_the_name_it_is_found_under() -> None:
    assert all(STANDARD[name].name == name for name in STANDARD)


def test_no_extension_is_imported_before_it_is_used() -> None:
    script = """
import sys
from pgrules.cel import compile_expression
compile_expression("a.b > 1 && a.c.exists(x, x == 'y')").evaluate({"a": {"b": 1}})
assert not [name for name in sys.modules if ".ext_" in name], sys.modules
compile_expression("a.trim() == 'x'").evaluate({"a": " x "})
assert [name for name in sys.modules if ".ext_" in name] == [
    "pgrules.cel.ext_strings"
], sys.modules
"""
    subprocess.run([sys.executable, "-c", script], check=True)


def test_names_are_known_without_importing() -> None:
    libraries = Libraries({}, {"f": "no_such_module"})
    assert "f" in libraries
    assert "g" not in libraries
    assert list(libraries) == ["f"]
    assert len(libraries) == 1
    with pytest.raises(KeyError):
        libraries["g"]


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("a.upperAsci()", "unknown function upperAsci", "upperAscii"),
        ("math.abz(a)", "unknown function math.abz", "math.abs"),
        ("optional.off(a)", "unknown function optional.off", "optional.of"),
        ("a.trim(1)", "trim is not called with these arguments", "string.trim()"),
    ],
)
def test_a_misspelled_function_is_named_with_the_nearest(
    text: str, message: str, hint: str
) -> None:
    with pytest.raises(InvalidExpression) as caught:
        compile_expression(text)
    (problem,) = caught.value.problems
    assert problem.message == message
    assert hint in problem.hint
