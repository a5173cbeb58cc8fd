"""What all test suites share: their databases and servers, loaded as plugins."""

import os

import pytest
from hypothesis import settings

# A loaded machine is no reason to fail.
settings.register_profile("pgrules", deadline=None)
settings.load_profile("pgrules")

pytest_plugins = ["tests.fixtures.database", "tests.integration.deployed"]


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Where nothing is missing, take a skipped test for a failed one."""
    reporter = session.config.pluginmanager.get_plugin("terminalreporter")
    skipped = reporter.stats.get("skipped", []) if reporter else []
    if skipped and os.environ.get("PGRULES_FORBID_SKIPS"):
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say so."""
    skipped = terminalreporter.stats.get("skipped", [])
    if skipped and os.environ.get("PGRULES_FORBID_SKIPS"):
        terminalreporter.write_line(
            f"{len(skipped)} skipped, and PGRULES_FORBID_SKIPS is set: failed"
        )
