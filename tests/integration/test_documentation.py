"""What README.md and docs/ say is so: samples run, names and codes exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from pgrules.cel import Environment, macros
from pgrules.cel.limits import DEFAULT_LIMITS
from tests.fixtures.database import Database
from tests.integration.documented import DOCUMENTS, ROOT, blocks, run_python, run_sql

_CODE = re.compile(r"\bRE\d{3}\b")


def _name(document: Path) -> str:
    return str(document.relative_to(ROOT))


def _with_samples(language: str) -> list[Path]:
    return [document for document in DOCUMENTS if any(blocks(document, language))]


@pytest.mark.integration
@pytest.mark.parametrize("document", _with_samples("sql"), ids=_name)
def test_samples_of_sql_do_what_the_text_says(
    database: Database, document: Path
) -> None:
    run_sql(list(blocks(document, "sql")), database.dsn)


@pytest.mark.integration
@pytest.mark.parametrize("document", _with_samples("python"), ids=_name)
def test_samples_of_python_do_what_the_text_says(
    database: Database, document: Path
) -> None:
    prepared = [b for b in blocks(document, "sql") if b.error is None]
    if prepared:
        run_sql(prepared, database.dsn)
    run_python(list(blocks(document, "python")), database.dsn, document)


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_links_lead_to_files_and_headings_that_exist(document: Path) -> None:
    text = document.read_text(encoding="utf-8")
    for link in re.findall(r"\]\((?!https?:)([^)]+)\)", text):
        path, _, heading = link.partition("#")
        target = (document.parent / path) if path else document
        assert target.exists(), f"{link} leads nowhere"
        if heading:
            assert heading in _anchors(target), f"{link}: no such heading"


def _anchors(document: Path) -> set[str]:
    headings = re.findall(r"^#+ (.+)$", document.read_text("utf-8"), re.MULTILINE)
    return {
        re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        for heading in headings
    }


@pytest.mark.parametrize("document", DOCUMENTS, ids=_name)
def test_make_targets_that_are_named_exist(document: Path) -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z][a-z-]*):", makefile, re.MULTILINE))
    text = document.read_text(encoding="utf-8")
    named = set(
        re.findall(r"(?:`|^|\()make (?:-s )?([a-z][a-z-]*)", text, re.MULTILINE)
    )
    assert named <= targets


def test_the_table_of_errors_lists_every_code_of_the_sources_and_no_other() -> None:
    sources = [
        *(ROOT / "deploy").glob("*.sql"),
        *(ROOT / "python/src/pgrules").rglob("*.py"),
    ]
    in_use = {
        code
        for source in sources
        for code in _CODE.findall(source.read_text(encoding="utf-8"))
    }
    table = (ROOT / "docs/errors.md").read_text(encoding="utf-8")
    rows = re.findall(r"^\| `(RE\d{3})` \|", table, re.MULTILINE)
    assert rows == sorted(in_use)


def test_every_function_and_macro_of_the_language_is_documented() -> None:
    text = "".join(
        (ROOT / "docs" / name).read_text(encoding="utf-8")
        for name in ("language.md", "libraries.md")
    )
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.MULTILINE | re.DOTALL)
    code = " ".join(re.findall(r"`[^`]+`", prose))
    named = set(re.findall(r"[\w.]*\w(?=\()", code))
    # A method stands with a receiver: `s.trim()`.
    named |= {name.rpartition(".")[2] for name in named}
    functions = {name for name in Environment().functions if name[0].isalpha()}
    namespaced = {".".join(name) for name in macros._NAMESPACED}
    assert functions | {name for name, _, _ in macros._MACROS} | namespaced <= named


def test_limits_are_documented_with_their_defaults() -> None:
    text = (ROOT / "docs/language.md").read_text(encoding="utf-8")
    for limit in (
        DEFAULT_LIMITS.expression_length,
        DEFAULT_LIMITS.nesting,
        DEFAULT_LIMITS.cost,
    ):
        assert f"{limit:,}" in text


@pytest.mark.integration
def test_every_public_object_is_in_the_sql_reference(database: Database) -> None:
    text = (ROOT / "docs/sql.md").read_text(encoding="utf-8")
    documented = set(re.findall(r"^### `(?:rules\.)?(\w+)", text, re.MULTILINE))
    public = {
        name
        for (name,) in database.connect().execute(
            """
            SELECT proname::text FROM pg_proc
            WHERE pronamespace = 'rules'::regnamespace
            UNION
            SELECT relname::text FROM pg_class
            WHERE relnamespace = 'rules'::regnamespace AND relkind IN ('r', 'v', 'c')
            """
        )
    }
    assert documented == public
