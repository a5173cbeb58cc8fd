"""What all test suites share: the fixtures under tests/fixtures, loaded as plugins."""

pytest_plugins = ["tests.fixtures.database"]
