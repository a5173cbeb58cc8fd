#!/usr/bin/env bash
# Runs the pgTAP tests (all, or the files named) in a database that is made, deployed into and dropped here.
set -euo pipefail

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$tools/../.." && pwd)

url=$("$tools/server.sh" start)
name=pgrules_tap_$$_$RANDOM
test_url=$(python3 - "$url" "$name" <<'PY'
import sys
from urllib.parse import urlsplit

print(urlsplit(sys.argv[1])._replace(path="/" + sys.argv[2]).geturl())
PY
)

# query URI SQL
query() {
    psql --no-psqlrc --quiet --set=ON_ERROR_STOP=1 --command="$2" "$1" </dev/null
}

query "$url" "CREATE DATABASE $name TEMPLATE template0"
trap 'query "$url" "DROP DATABASE IF EXISTS $name WITH (FORCE)"' EXIT

"$tools/server.sh" deploy "$test_url"
query "$test_url" 'CREATE EXTENSION pgtap; CREATE EXTENSION plpgsql_check'

cd "$root"
[ "$#" -gt 0 ] || set -- tests/pgtap/*.sql
PGOPTIONS=--client-min-messages=warning pg_prove --dbname "$test_url" --timer "$@"
