#!/usr/bin/env bash
# The server that everything here works on: a private one under .pg/, or the user's own.
#
#   server.sh up           start it if it does not run, deploy into it
#   server.sh dsn          the same, and print its superuser URI, nothing else, on stdout
#   server.sh start        start it, deploy nothing, and print the same URI
#   server.sh kind         say which it is: private, or own for the user's
#   server.sh reset        revert all that is deployed, with its data, and deploy anew
#   server.sh deploy URI   deploy into another database
#   server.sh down         stop it
#   server.sh clean        stop it and remove it with its data
#
# DATABASE_URL, in the environment or in .env, names a server of the user's own. Then nothing is started,
# stopped or removed; `up`, `dsn` and `reset` deploy into the database that it names.
#
# The private server never runs as root: as root it runs as the operating system's user postgres. It listens on
# 127.0.0.1 at a free port and on a socket of its own, and takes a generated password.
#
# What is in .pg/:  home/      data, socket, log and RE2; owned by the user that the server runs as; a link into
#                              that user's own folder where it cannot reach this checkout (/root/...)
#                   password, port
set -euo pipefail

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$tools/../.." && pwd)
# shellcheck source=python/tools/postgres.sh
. "$tools/postgres.sh"

pg=$root/.pg
# Resolved: the server's user may be unable to follow the link.
home=$(readlink -f "$pg/home" || true)
database=pgrules
server_user=postgres

say() { echo "server: $*" >&2; }
die() { echo "server: error: $*" >&2; exit 1; }

# as_server COMMAND...: as the user that the server runs as.
as_server() {
    if [ "$(id -u)" -eq 0 ]; then
        (cd / && runuser -u "$server_user" -- "$@")
    else
        "$@"
    fi
}

# ---------------------------------------------------------------- which server

# DATABASE_URL of the environment, or else of .env, or else nothing. .env is read, never executed.
own_url() {
    if [ -n "${DATABASE_URL:-}" ]; then
        echo "$DATABASE_URL"
    elif [ -f "$root/.env" ]; then
        sed -n 's/^[[:space:]]*\(export[[:space:]]\{1,\}\)\{0,1\}DATABASE_URL[[:space:]]*=[[:space:]]*//p' "$root/.env" |
            tail -n 1 | sed -e 's/[[:space:]]*$//' -e 's/^"\(.*\)"$/\1/' -e "s/^'\(.*\)'\$/\1/"
    fi
}

private_url() {
    echo "postgresql://$server_user:$(cat "$pg/password")@127.0.0.1:$(cat "$pg/port")/${1:-$database}"
}

# ---------------------------------------------------------------- the private server

is_running() {
    [ -e "$home/data/PG_VERSION" ] && as_server "$(postgres_bin)/pg_ctl" status -D "$home/data" >/dev/null 2>&1
}

# The server's own folder. As root, in a checkout that the user postgres cannot enter, it lies with that user.
make_home() {
    mkdir -p "$pg"
    [ ! -d "$pg/home/" ] || return 0
    rm -f "$pg/home"
    home=$pg/home
    if [ "$(id -u)" -ne 0 ]; then
        mkdir -m 700 "$home"
    elif as_server test -x "$pg" 2>/dev/null; then
        install -d -m 700 -o "$server_user" -g "$server_user" "$home"
    else
        home=$(getent passwd "$server_user" | cut -d : -f 6)/pgrules-$(echo "$root" | cksum | cut -d ' ' -f 1)
        say "user $server_user cannot enter $root; the server's data are in $home"
        install -d -m 700 -o "$server_user" -g "$server_user" "$home"
        ln -s "$home" "$pg/home"
    fi
}

# A socket's path is limited to 107 bytes; a deep checkout gets a folder under /tmp instead.
make_socket_dir() {
    local socket_dir
    socket_dir=$home/socket
    if [ "${#socket_dir}" -gt 85 ]; then
        [ -d "$(cat "$pg/socket" 2>/dev/null)/" ] && return 0
        socket_dir=$(as_server mktemp -d /tmp/pgrules-XXXXXX)
    fi
    as_server mkdir -p -m 700 "$socket_dir"
    echo "$socket_dir" >"$pg/socket"
}

initialize() {
    say "creating a private PostgreSQL $(postgres_major) under .pg/"
    rm -rf "$home/data.new"
    (umask 077 && od -An -N18 -tx1 /dev/urandom | tr -d ' \n' >"$pg/password")
    # The password goes in through a pipe: the server's user need not be able to read this checkout.
    # shellcheck disable=SC2016  # the inner shell expands it
    as_server bash -c '"$1"/initdb --pgdata="$2" --username="$3" --pwfile=<(cat) \
        --encoding=UTF8 --locale=C.UTF-8 --auth=scram-sha-256 --no-instructions' \
        - "$(postgres_bin)" "$home/data.new" "$server_user" <"$pg/password" >"$pg/initdb.log" 2>&1 ||
        { cat "$pg/initdb.log" >&2; die "initdb failed"; }
    as_server tee -a "$home/data.new/postgresql.conf" >/dev/null <<'CONF'

# pgrules' private server
listen_addresses = '127.0.0.1'
max_connections = 200
shared_buffers = 256MB
# The tests try two-phase commit.
max_prepared_transactions = 4
# A crash of the machine may lose the last second of work here, never the database.
synchronous_commit = off
CONF
    as_server mv "$home/data.new" "$home/data"
}

is_free_port() {
    ! (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null
}

# The port of the last time, if it is still free; or a random one below those that the kernel hands out.
choose_port() {
    local port
    port=$(cat "$pg/port" 2>/dev/null) || port=
    while [ -z "$port" ] || ! is_free_port "$port"; do
        port=$((20000 + RANDOM % 12000))
    done
    echo "$port" >"$pg/port"
}

# Prints nothing on stdout; afterwards the server answers.
start_private() {
    [ -n "$(postgres_major)" ] || die "PostgreSQL is not installed: run \`make setup\`"
    make_home
    # Two makes at once must not both start it. The server must not inherit the lock.
    exec 9>"$pg/lock"
    flock 9
    if ! is_running; then
        [ -e "$home/data/PG_VERSION" ] || initialize
        make_re2
        make_socket_dir
        local attempt
        for attempt in 1 2 3 4 5; do
            choose_port
            # PYTHONPATH is how this server, and no other on the machine, finds RE2.
            if as_server env PYTHONPATH="$home/python" "$(postgres_bin)/pg_ctl" start --wait --timeout=60 \
                --pgdata="$home/data" --log="$home/log" \
                --options="-p $(cat "$pg/port") -k '$(cat "$pg/socket")'" \
                </dev/null >"$pg/start.log" 2>&1 9>&-; then
                say "private server started on port $(cat "$pg/port")"
                break
            fi
            # Somebody may have taken the port since it was looked at.
            if [ "$attempt" -eq 5 ] || ! as_server tail -n 20 "$home/log" | grep -q 'Address already in use'; then
                as_server tail -n 20 "$home/log" >&2
                die "the private server does not start"
            fi
            rm -f "$pg/port"
        done
    fi
    if [ "$(query "$(private_url postgres)" "SELECT 1 FROM pg_database WHERE datname = '$database'")" != 1 ]; then
        query "$(private_url postgres)" "CREATE DATABASE $database TEMPLATE template0"
    fi
    exec 9>&-
}

# RE2 is installed by the user who makes, and copied to where the server's user can read it.
make_re2() {
    [ -d "$root/build/re2" ] || die "RE2 for the server is not installed: run \`make setup\`"
    rm -rf "$home/python"
    as_server mkdir -p "$home/python"
    tar -C "$root/build/re2" -cf - . | as_server tar -C "$home/python" -xf -
}

stop_private() {
    is_running || return 0
    as_server "$(postgres_bin)/pg_ctl" stop --mode=fast --wait --timeout=60 --pgdata="$home/data" >/dev/null ||
        die "the private server does not stop"
    say "private server stopped"
}

remove_private() {
    [ -d "$pg" ] || return 0
    local socket_dir
    socket_dir=$(cat "$pg/socket" 2>/dev/null) || socket_dir=
    stop_private
    case "$socket_dir" in /tmp/pgrules-*) rm -rf "$socket_dir" ;; esac
    rm -rf "$home" "$pg"
}

# ---------------------------------------------------------------- the database

# query URI SQL
query() {
    psql --no-psqlrc --quiet --tuples-only --no-align --set=ON_ERROR_STOP=1 --command="$2" "$1" </dev/null
}

run_sqitch() {
    # Sqitch records who deployed, and refuses where the account has no full name.
    if [ -z "${SQITCH_FULLNAME:-}" ] && ! sqitch config --get user.name >/dev/null 2>&1; then
        SQITCH_FULLNAME=$(id -un)
        SQITCH_EMAIL=$(id -un)@localhost
        export SQITCH_FULLNAME SQITCH_EMAIL
    fi
    (cd "$root" && sqitch "$@") </dev/null
}

deploy() {
    local output
    if ! output=$(run_sqitch deploy --verify --target "db:$1" 2>&1); then
        echo "$output" >&2
        die "the deploy failed"
    fi
    echo "$output" | sed -n 's/^  + /server: deployed /p' >&2
    # A script that was edited after it was deployed: the database does not hold what the checkout says.
    if ! output=$(run_sqitch check --target "db:$1" 2>&1); then
        echo "$output" >&2
        die "the database was deployed from other scripts than those of this checkout. \`make reset\` deploys anew and drops what it holds"
    fi
}

# start_any: prints the URI of the server in use, the private one started if it must be.
start_any() {
    local url
    url=$(own_url)
    if [ -n "$url" ]; then
        query "$url" 'SELECT 1' >/dev/null || die "DATABASE_URL does not answer"
        echo "$url"
    else
        start_private
        private_url
    fi
}

case "${1:-}" in
    start) start_any ;;
    up | dsn)
        url=$(start_any)
        deploy "$url"
        if [ "$1" = dsn ]; then echo "$url"; else say "ready"; fi
        ;;
    reset)
        url=$(start_any)
        run_sqitch revert -y --target "db:$url" >&2 || die "the revert failed"
        deploy "$url"
        ;;
    deploy) deploy "$2" ;;
    kind) if [ -n "$(own_url)" ]; then echo own; else echo private; fi ;;
    down | clean)
        if [ "$1" = clean ]; then remove_private; else stop_private; fi
        [ -z "$(own_url)" ] || say "DATABASE_URL names a server of your own; it was left alone"
        ;;
    *) die "usage: server.sh up | dsn | start | kind | reset | deploy URI | down | clean" ;;
esac
