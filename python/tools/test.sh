#!/usr/bin/env bash
# All tests, each runner's own closing line included; `make test` calls it. Every part runs, also after one failed.
set -uo pipefail

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$tools/../.." || exit 1

failed=()

part() {
    local name=$1
    shift
    echo
    echo "=== $name"
    "$@" || failed+=("$name")
}

run_pytest() {
    .venv/bin/python -m pytest -c tests/pytest.ini "$@"
}

part 'without a server' run_pytest -m 'not integration and not soak' tests
part 'pgTAP' "$tools/pgtap.sh"
part 'with a server' run_pytest -m integration tests

echo
if [ "${#failed[@]}" -gt 0 ]; then
    printf 'failed: %s\n' "${failed[@]}"
    exit 1
fi
echo 'all tests passed'
