#!/usr/bin/env bash
# Which lines and branches of python/src/pgrules the tests reach; `make coverage` calls it. Databases are had on one
# server, as what is measured is the package and not where its databases come from. What the server runs is the bundled
# copy of pgrules.cel, in the server's own Python: it is not counted.
#
# The report names what is not reached. The exit code is that of the tests: no number is asked for.
set -uo pipefail

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$tools/../.." || exit 1

coverage=(.venv/bin/coverage)
config=--rcfile=python/pyproject.toml

mkdir -p build/coverage
"${coverage[@]}" erase "$config"
PGRULES_TEST_MODE=server "${coverage[@]}" run "$config" -m pytest -c tests/pytest.ini -m 'not soak' \
    "${@:-tests}"
status=$?
"${coverage[@]}" combine --quiet "$config"
"${coverage[@]}" html --quiet "$config"
"${coverage[@]}" report "$config"
exit "$status"
