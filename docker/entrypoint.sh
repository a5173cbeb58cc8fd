#!/bin/sh
# Starts what the command names, after making a cluster with the database pgrules where the data folder is empty.
set -eu

if [ ! -s "$PGDATA/PG_VERSION" ]; then
    : "${POSTGRES_PASSWORD:?set POSTGRES_PASSWORD, the password of the superuser postgres}"
    printf '%s\n' "$POSTGRES_PASSWORD" >/tmp/password
    initdb --username=postgres --pwfile=/tmp/password --encoding=UTF8 --locale=C.UTF-8 \
        --auth-local=trust --auth-host=scram-sha-256 --no-instructions
    rm /tmp/password
    echo 'host all all all scram-sha-256' >>"$PGDATA/pg_hba.conf"
    # /run may be mounted empty, and the user postgres cannot make a folder there.
    printf "%s\n" "listen_addresses = '*'" "unix_socket_directories = '/tmp'" >>"$PGDATA/postgresql.conf"
    echo 'CREATE DATABASE pgrules TEMPLATE template0' | postgres --single postgres >/dev/null
fi

unset POSTGRES_PASSWORD
exec "$@"
