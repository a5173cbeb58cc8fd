"""Run a folder of CEL conformance cases and say which fail.

``python tests/conformance/run.py FOLDER`` prints a line for each failing case, a table
of the files and, last, ``N passed, N failed``. The exit code is 1 when a case failed, 2
when there was none.
"""

from __future__ import annotations

import sys
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.conformance.suite import judge, read_cases


def _one_line(text: str, width: int = 200) -> str:
    text = text.replace("\\", "\\\\").replace("\n", "\\n").replace("\r", "\\r")
    return text if len(text) <= width else text[: width - 3] + "..."


def main(folder: Path) -> int:
    """Print the report and return the exit code."""
    passed: Counter[str] = Counter()
    failed: Counter[str] = Counter()
    for case in read_cases(folder):
        outcome = judge(case)
        (passed if outcome.passed else failed)[case.file] += 1
        if not outcome.passed:
            print(
                f"FAIL {case.id}: {_one_line(case.expression)}"
                f" | expected {_one_line(outcome.expected)}"
                f" | got {_one_line(outcome.got)}"
            )
    files = sorted(passed | failed)
    if not files:
        print(f"{folder}: no *.jsonl file with cases", file=sys.stderr)
        return 2
    width = max(map(len, files))
    print(f"{'file':{width}}  passed  failed")
    for file in files:
        print(f"{file:{width}}  {passed[file]:6}  {failed[file]:6}")
    print(f"{passed.total()} passed, {failed.total()} failed")
    return 1 if failed else 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("usage: run.py FOLDER")
    # Values in reports are whatever the cases hold, whatever the terminal can show.
    sys.stdout.reconfigure(errors="backslashreplace")  # type: ignore[union-attr]
    sys.exit(main(Path(sys.argv[1])))
