"""Writes the modules of ``pgrules.cel`` into the Sqitch change that carries them.

The change's script is committed, so that a deploy needs nothing but the script. With
``--check`` nothing is written, and the exit code is 1 when the script is stale.
"""

from __future__ import annotations

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PACKAGE = ROOT / "python" / "src" / "pgrules" / "cel"
CHANGE = ROOT / "deploy" / "000015_cel.sql"
BEGIN = "    -- bundle: begin"
END = "    -- bundle: end"


def bundled(script: str) -> str:
    """The script with today's modules between its marks."""
    before, begin, rest = script.partition(f"{BEGIN}\n")
    _, end, after = rest.partition(f"{END}\n")
    if not begin or not end:
        message = f"{CHANGE}: the lines {BEGIN!r} and {END!r} are missing"
        raise SystemExit(message)
    statements = []
    for path in sorted(PACKAGE.glob("*.py")):
        source = path.read_text(encoding="utf-8")
        quote = f"$cel_{path.stem}$"
        if quote in source or "$deploy$" in source:
            message = f"{path}: contains the quote of the bundle"
            raise SystemExit(message)
        statements.append(
            f"    v_sources := v_sources || jsonb_build_object('{path.stem}', {quote}"
            f"{source}{quote});\n\n"
        )
    return f"{before}{begin}{''.join(statements)}{end}{after}"


def main() -> int:
    """Write the bundle, or test that it is fresh."""
    script = CHANGE.read_text(encoding="utf-8")
    fresh = bundled(script)
    if "--check" in sys.argv[1:]:
        if fresh != script:
            sys.stderr.write(f"{CHANGE.relative_to(ROOT)} is stale: run make bundle\n")
            return 1
        return 0
    CHANGE.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
