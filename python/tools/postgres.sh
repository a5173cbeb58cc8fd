# shellcheck shell=bash
# Where this machine's PostgreSQL is. Sourced by the other scripts; defines functions only.

# The newest installed major version that can run (PG_MAJOR chooses another), or nothing.
postgres_major() {
    local major
    for major in ${PG_MAJOR:-$(find /usr/lib/postgresql -mindepth 1 -maxdepth 1 -printf '%f\n' 2>/dev/null | sort -rn)}; do
        if [ -x "/usr/lib/postgresql/$major/bin/postgres" ]; then
            echo "$major"
            return 0
        fi
    done
}

# postgres_bin: the folder of initdb, pg_ctl and postgres.
postgres_bin() {
    echo "/usr/lib/postgresql/$(postgres_major)/bin"
}

# The version of the Python that PL/Python is linked with, such as 3.11.
plpython_version() {
    ldd "/usr/lib/postgresql/$(postgres_major)/lib/plpython3.so" 2>/dev/null |
        sed -n 's/^[[:space:]]*libpython\(3\.[0-9]*\)\.so.*/\1/p'
}
