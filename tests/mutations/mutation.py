"""One deliberate defect, and the tests that must notice it.

A test is named by its file and its own name, joined by ``::``: for pytest the node
id, of a function with parameters without them; for pgTAP the description, or what it
begins with. A verify script has no tests; it is named by its file.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path


class MutationError(Exception):
    """The mutation does not fit the sources."""


@dataclass(frozen=True)
class Mutation:
    """A text of a file that is replaced by another."""

    name: str
    path: str
    """The file, from the root of the checkout."""
    text: str
    """What is replaced. It occurs once, or is the first after `after`."""
    replacement: str
    danger: str
    """What could happen to somebody's data."""
    caught_by: tuple[str, ...]
    """The tests that must fail, each of them."""
    after: str = ""
    """A text that occurs once, before the one that is replaced."""

    @property
    def is_of_the_core(self) -> bool:
        """Whether the file is bundled into the deploy."""
        return self.path.startswith("python/src/pgrules/cel/")

    @property
    def is_deployed(self) -> bool:
        """Whether a database is another one with it."""
        return self.is_of_the_core or self.path.startswith("deploy/")

    @property
    def is_of_roles(self) -> bool:
        """Whether it outlives the database: roles belong to the server."""
        return self.path == "deploy/000001_roles.sql"

    def applied(self, source: str) -> str:
        """The file with the defect.

        Raises MutationError unless the text is found exactly once, or after an
        anchor that is found exactly once.
        """
        start = 0
        if self.after:
            if source.count(self.after) != 1:
                raise MutationError(self._found(self.after, source))
            start = source.index(self.after) + len(self.after)
            if self.text not in source[start:]:
                raise MutationError(self._found(self.text, source[start:]))
        elif source.count(self.text) != 1:
            raise MutationError(self._found(self.text, source))
        if self.text == self.replacement:
            raise MutationError(f"{self.name}: it replaces nothing")
        return source[:start] + source[start:].replace(self.text, self.replacement, 1)

    def _found(self, text: str, source: str) -> str:
        return f"{self.name}: {self.path} has {source.count(text)} times: {text!r}"

    def apply(self, root: Path) -> None:
        """Write the defect into a copy of the checkout."""
        path = root / self.path
        path.write_text(self.applied(path.read_text(encoding="utf-8")), "utf-8")


def file_of(test: str) -> str:
    """The file of a test, from the root of the checkout."""
    return test.partition("::")[0]


def is_pgtap(test: str) -> bool:
    """Whether it is a test of pgTAP."""
    return test.startswith("tests/pgtap/")


def is_verify(test: str) -> bool:
    """Whether it is a script by which Sqitch verifies what it has deployed."""
    return test.startswith("verify/")


def needs_server(test: str) -> bool:
    """Whether the test asks a database."""
    return not test.startswith("tests/unit/cel/") and file_of(test) not in {
        "tests/unit/test_queries.py",
        "tests/unit/test_translate.py",
    }
