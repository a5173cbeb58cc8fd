#!/usr/bin/env bash
# All that is checked without running it; `make lint` calls it. Every check runs, also after one failed.
set -uo pipefail

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$tools/../.." || exit 1

failed=()

check() {
    echo "--- $*"
    "$@" || failed+=("$1 $2")
}

config=python/pyproject.toml
check .venv/bin/ruff check --quiet --config "$config" python tests
check .venv/bin/ruff format --quiet --check --config "$config" python tests
check .venv/bin/mypy --config-file "$config" python/src python/tools python/demo tests
check .venv/bin/sqlfluff lint --disable-progress-bar deploy revert verify tests/pgtap
check .venv/bin/python python/tools/bundle.py --check
check .venv/bin/python -m python.tools.supply check
for script in python/tools/*.sh docker/*.sh .ci/run; do
    check bash -n "$script"
done
if command -v shellcheck >/dev/null; then
    check shellcheck --external-sources python/tools/*.sh docker/*.sh .ci/run
fi

if [ "${#failed[@]}" -gt 0 ]; then
    printf 'failed: %s\n' "${failed[@]}"
    exit 1
fi
echo 'nothing to complain about'
