"""A review of the package's own source, for what was once verified by reading it.

Every statement is a constant of its module, so that nothing a caller gives can become
SQL text; and each that touches a table names the tenant.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

import pgrules

PACKAGE = Path(pgrules.__file__).parent
EXECUTING = {"execute", "executemany", "copy", "stream"}
# Their names compose SQL at run time; no module of the package may use them.
COMPOSING = {"psycopg.sql", "psycopg._queries"}


class Module(NamedTuple):
    path: Path
    tree: ast.Module
    constants: dict[str, str]

    @property
    def queries(self) -> dict[str, str]:
        """The constants that are SQL."""
        verb = re.compile(r"\s*(SELECT|INSERT|UPDATE|DELETE|MERGE|WITH|CALL|SET)\b")
        return {name: text for name, text in self.constants.items() if verb.match(text)}


def parsed(source: str, path: Path = PACKAGE) -> Module:
    tree = ast.parse(source)
    constants = {}
    for node in tree.body:
        match node:
            case (
                ast.AnnAssign(
                    target=ast.Name(id=name), value=ast.Constant(value=str(text))
                )
                | ast.Assign(
                    targets=[ast.Name(id=name)], value=ast.Constant(value=str(text))
                )
            ):
                constants[name] = text
    return Module(path, tree, constants)


MODULES = [
    parsed(path.read_text(encoding="utf-8"), path)
    for path in sorted(PACKAGE.rglob("*.py"))
]
QUERIES = [
    pytest.param(text, id=f"{module.path.stem}.{name}")
    for module in MODULES
    for name, text in module.queries.items()
]


def composed_statements(module: Module) -> Iterator[str]:
    """Calls that execute anything but a constant of the module."""
    for node in ast.walk(module.tree):
        match node:
            case ast.Call(func=ast.Attribute(attr=attribute), args=[statement, *_]):
                if attribute not in EXECUTING:
                    continue
                match statement:
                    case ast.Constant(value=str()):
                        continue
                    case ast.Name(id=name) if name in module.constants:
                        continue
                yield f"{module.path.name}:{node.lineno}: {ast.unparse(statement)}"


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.path.stem)
def test_only_constants_are_executed(module: Module) -> None:
    """REQ-PERSIST-004, REQ-SECURITY-001: no SQL is put together at run time."""
    assert list(composed_statements(module)) == []


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.path.stem)
def test_nothing_is_imported_that_composes_sql(module: Module) -> None:
    """REQ-PERSIST-004, REQ-SECURITY-001."""
    imported = set()
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            imported |= {f"{node.module}.{alias.name}" for alias in node.names}
            imported.add(node.module or "")
    assert not imported & COMPOSING


@pytest.mark.parametrize(
    "statement",
    [
        "cursor.execute(f'SELECT {name}')",
        "cursor.execute('SELECT ' + name)",
        "cursor.execute('SELECT %s' % name)",
        "cursor.execute('SELECT {}'.format(name))",
        "cursor.execute(query)",
        "cursor.execute(self.query, (1,))",
        "cursor.executemany(f'{a}', [])",
    ],
)
def test_the_review_finds_a_composed_statement(statement: str) -> None:
    assert list(composed_statements(parsed(f"QUERY = 'SELECT 1'\n{statement}")))


def test_the_review_knows_the_stores_queries() -> None:
    names = {parameter.id for parameter in QUERIES}
    assert {f"postgres.{name}" for name in ("ADD", "GET", "UPDATE", "DELETE")} <= names
    assert "tenant_session.SET_TENANT" in names
    environment = {"SET_SCHEMA", "SCHEMAS", "ADD_FIELD", "UPDATE_FIELD", "DELETE_FIELD"}
    assert {f"postgres_environment.{name}" for name in environment} <= names
    audit = {"VERSIONS", "COMPARE", "ENTRIES", "ENTRIES_OF_SUBJECT"}
    assert {f"postgres_audit.{name}" for name in audit} <= names


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_on_a_table_is_bound_to_the_tenant(query: str) -> None:
    """REQ-TENANT-002, REQ-SECURITY-002: WHERE tenant_id = %s, or it is inserted."""
    tables = "rules|tenants|schemas|schema_changelog|derived_fields|audit_log"
    if re.search(rf"\brules\.(?:{tables})\b(?!\()", query):
        inserted = re.search(r"INSERT INTO \S+ \(tenant_id, .*\)\s+VALUES \(%s", query)
        filtered = re.search(r"WHERE (?:\w+\.)?tenant_id = %s", query)
        assert inserted or filtered, query


@pytest.mark.parametrize("query", QUERIES)
def test_a_query_names_the_schema_of_what_it_uses(query: str) -> None:
    relations = re.findall(r"\b(?:FROM|JOIN|INTO|UPDATE)\s+(?!LATERAL)(\S+)", query)
    relations += re.findall(r"\bLATERAL\s+(\S+)", query)
    assert [name for name in relations if "." not in name] == []


def test_active_rules_are_one_select() -> None:
    """REQ-PERF-PERSIST-003: ListActive is a single query for all rules."""
    module = next(module for module in MODULES if module.path.name == "postgres.py")
    store = next(
        node
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef) and node.name == "list_active"
    )
    executed = [
        node
        for node in ast.walk(store)
        if isinstance(node, ast.Attribute) and node.attr in EXECUTING
    ]
    assert len(executed) == 1
    assert module.constants["LIST_ACTIVE"].count("SELECT") == 1
