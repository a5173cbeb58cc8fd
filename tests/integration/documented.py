"""The samples in README.md and docs/: found in the text, and run.

A document's fenced blocks of ``sql`` are one psql session, in order; its blocks of
``python`` are one program. What a sample should print stands beside it:

- SQL: comment lines ``-- => text`` after a statement, columns separated by `` | ``.
  A block that has one must have one for each line of its output.
- Python: comments ``# => text`` at the end of a line, or on lines of their own.
- a block that starts with `````sql error=RE020`` must end in that SQLSTATE.

Blocks inside an HTML comment prepare what the reader need not see; they run too.
"""

from __future__ import annotations

import io
import os
import re
import subprocess
from contextlib import redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from unittest.mock import patch

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[2]
DOCUMENTS = (
    ROOT / "README.md",
    ROOT / "SECURITY.md",
    *sorted((ROOT / "docs").glob("*.md")),
)

_FENCE = re.compile(
    r"^```(?P<language>\w+)(?: error=(?P<error>\w{5}))?\n(?P<code>.*?)^```$",
    re.MULTILINE | re.DOTALL,
)
_MARK = "@@@ end of block"


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, its text, and where it begins."""

    language: str
    code: str
    line: int
    error: str | None = None

    def expected(self) -> list[str]:
        """The lines of output that the block promises."""
        comment = "--" if self.language == "sql" else "#"
        found = re.findall(rf"{comment} => ?(.*)$", self.code, re.MULTILINE)
        return [line.rstrip() for line in found]


def blocks(document: Path, language: str) -> Iterator[Block]:
    """The blocks of one language, in order."""
    text = document.read_text(encoding="utf-8")
    for match in _FENCE.finditer(text):
        if match["language"] == language:
            line = text.count("\n", 0, match.start()) + 2
            yield Block(language, match["code"], line, match["error"])


def run_sql(session: list[Block], dsn: str) -> None:
    """Run the blocks as one psql session; raises AssertionError where one lies."""
    script = []
    for block in session:
        script += [
            f"\\set ON_ERROR_STOP {'off' if block.error else 'on'}",
            # Statements are numbered as in the document, for psql's messages.
            block.code,
            f"\\echo {_MARK} :LAST_ERROR_SQLSTATE",
        ]
    done = subprocess.run(
        ["psql", "-X", "-q", "-A", "-t", "-F", " | ", "-f", "-", dsn],
        input="\n".join(script),
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    outputs = re.split(rf"^{_MARK} (\w+)\n", done.stdout, flags=re.MULTILINE)
    pairs = list(zip(outputs[0::2], outputs[1::2], strict=False))
    assert len(pairs) == len(session), (
        f"the block at line {session[len(pairs)].line} failed:\n{done.stderr}"
    )
    for block, (output, sqlstate) in zip(session, pairs, strict=True):
        where = f"the block at line {block.line}"
        if block.error is not None:
            assert sqlstate == block.error, f"{where} ended in {sqlstate}"
        if block.expected():
            lines = [line.rstrip() for line in output.splitlines() if line]
            assert lines == block.expected(), f"{where} printed:\n{output}"


def run_python(program: list[Block], dsn: str, document: Path) -> None:
    """Run the blocks as one program; raises AssertionError where one lies."""
    names: dict[str, object] = {"__name__": "__main__"}
    for block in program:
        printed = io.StringIO()
        # Blank lines before, so that a traceback tells the line of the document.
        source = "\n" * (block.line - 1) + block.code
        code = compile(source, str(document), "exec")
        with (
            patch.dict(os.environ, {"DATABASE_URL": dsn}),
            redirect_stdout(printed),
        ):
            exec(code, names)  # noqa: S102 - the project's own samples
        assert printed.getvalue().splitlines() == block.expected(), (
            f"the block at line {block.line} printed:\n{printed.getvalue()}"
        )
