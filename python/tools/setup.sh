#!/usr/bin/env bash
# Installs what this machine lacks, and nothing that it has. The Makefile calls it.
#
#   setup.sh server        PostgreSQL with PL/Python, pgTAP and plpgsql_check; Sqitch; pg_prove
#   setup.sh pgbouncer     PgBouncer, which some tests put in front of a server
#   setup.sh containers    Podman, runc, and what builds an image without a registry
#   setup.sh venv DIR      the Python packages of requirements.lock, and pgrules (editable)
#   setup.sh tools DIR     what renews and audits that lock, by a lock of its own
#   setup.sh re2 DIR       RE2 for the Python that the server embeds, into a folder
#   setup.sh node DIR      Node, and the packages that the benchmark runs in it, into a folder
#
# Debian packages need root or sudo, and only while something is missing. Everything
# that is said goes to stderr: stdout belongs to the make targets that print an answer.
set -euo pipefail
exec >&2

here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
python_dir=$(dirname "$here")
lock=$python_dir/requirements.lock
# shellcheck source=python/tools/postgres.sh
. "$here/postgres.sh"

say() { echo "setup: $*"; }
die() { echo "setup: error: $*"; exit 1; }

# ---------------------------------------------------------------- Debian packages

# as_root COMMAND...: directly as root, otherwise through sudo.
as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        sudo "$@"
    fi
}

# Another apt may run beside us (an unattended upgrade, a second checkout). apt-get can wait for dpkg's
# lock by itself, but not for the lock on the package lists.
apt_get() {
    local log waited=0
    log=$(mktemp)
    while ! as_root env DEBIAN_FRONTEND=noninteractive apt-get \
        -o DPkg::Lock::Timeout=600 "$@" >"$log" 2>&1 </dev/null; do
        if [ "$waited" -lt 600 ] && grep -q 'Could not get lock' "$log"; then
            [ "$waited" -gt 0 ] || say "another apt is running; waiting for it"
            sleep 5
            waited=$((waited + 5))
            continue
        fi
        cat "$log"
        rm -f "$log"
        return 1
    done
    rm -f "$log"
}

# apt_install PACKAGE...
apt_install() {
    command -v apt-get >/dev/null || die "this machine has no apt-get. Install by its own means: $*"
    if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
        die "missing: $*
Installing them needs root. Run make as root, install sudo, or have someone run
    apt-get install --no-install-recommends $*"
    fi
    say "installing $*"
    apt_get install -y --no-install-recommends "$@" ||
        die "apt-get could not install: $*"
}

package_lists_updated=
update_package_lists() {
    [ -z "$package_lists_updated" ] || return 0
    [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null || return 0
    command -v apt-get >/dev/null || return 0
    say "updating the package lists"
    apt_get update || say "warning: the package lists could not be updated"
    package_lists_updated=yes
}

# The major version to install where there is none: the one this release of Debian or Ubuntu ships.
distribution_major() {
    apt-cache depends postgresql 2>/dev/null |
        sed -n 's/^ *|\{0,1\}Depends: postgresql-\([0-9][0-9]*\)$/\1/p' | head -n 1
}

no_cluster=/etc/postgresql-common/createcluster.d/pgrules-setup.conf

install_server() {
    local major missing=()
    major=$(postgres_major)
    if [ -z "$major" ]; then
        update_package_lists
        major=$(distribution_major)
        [ -n "$major" ] || die "this machine's package sources have no PostgreSQL"
        missing+=("postgresql-$major" "postgresql-client-$major")
    fi
    local extension_dir=/usr/share/postgresql/$major/extension
    [ -e "$extension_dir/plpython3u.control" ] || missing+=("postgresql-plpython3-$major")
    [ -e "$extension_dir/pgtap.control" ] || missing+=("postgresql-$major-pgtap")
    [ -e "$extension_dir/plpgsql_check.control" ] || missing+=("postgresql-$major-plpgsql-check")
    command -v sqitch >/dev/null || missing+=(sqitch)
    # Debian's perl is named: a perl of the user's own in front of it is not the one that sqitch runs on.
    /usr/bin/perl -MDBD::Pg -e 1 2>/dev/null || missing+=(libdbd-pg-perl)
    command -v pg_prove >/dev/null || missing+=(libtap-parser-sourcehandler-pgtap-perl)
    [ "${#missing[@]}" -gt 0 ] || return 0

    update_package_lists
    # Debian starts a server of its own when PostgreSQL is installed. Nobody asked for one.
    if [ ! -d /etc/postgresql ] && { [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null; }; then
        as_root mkdir -p "${no_cluster%/*}"
        echo 'create_main_cluster = false' | as_root tee "$no_cluster" >/dev/null
        trap 'as_root rm -f "$no_cluster"' EXIT
    fi
    apt_install "${missing[@]}"
    [ -n "$(postgres_major)" ] || die "PostgreSQL was installed, but its programs are not found"
}

service_policy=/usr/sbin/policy-rc.d

install_pgbouncer() {
    [ ! -x /usr/sbin/pgbouncer ] || return 0
    update_package_lists
    # Debian starts a service when PgBouncer is installed. Nobody asked for one.
    if [ ! -e "$service_policy" ] && { [ "$(id -u)" -eq 0 ] || command -v sudo >/dev/null; }; then
        printf '#!/bin/sh\nexit 101\n' | as_root tee "$service_policy" >/dev/null
        as_root chmod 755 "$service_policy"
        trap 'as_root rm -f "$service_policy"' EXIT
    fi
    apt_install pgbouncer
}

install_containers() {
    local missing=() package
    for package in podman runc conmon netavark mmdebstrap; do
        dpkg-query -W -f '${db:Status-Status}\n' "$package" 2>/dev/null | grep -qx installed ||
            missing+=("$package")
    done
    # mmdebstrap verifies Debian's archive; another distribution may lack the keys.
    [ -e /usr/share/keyrings/debian-archive-keyring.gpg ] || missing+=(debian-archive-keyring)
    [ "${#missing[@]}" -gt 0 ] || return 0
    update_package_lists
    apt_install "${missing[@]}"
}

# ---------------------------------------------------------------- Python packages

# The interpreter for the virtual environment: $PYTHON, or the first one that is new enough.
find_python() {
    local candidate
    for candidate in ${PYTHON:-python3 python3.13 python3.12 python3.11}; do
        if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            "$candidate" -c 'import sys; print(sys.executable)'
            return 0
        fi
    done
    die "Python 3.11 or newer is needed (name one with PYTHON=/path/to/python3)"
}

# pip_install PYTHON OPTION...: silent, unless it fails or takes a release that was withdrawn.
pip_install() {
    local python=$1 output
    shift
    output=$("$python" -m pip install --quiet --disable-pip-version-check "$@" 2>&1 </dev/null) || {
        echo "$output"
        die "pip could not install the packages"
    }
    grep -i yanked <<<"$output" || true
}

# make_venv DIR: a virtual environment, to be filled with what a lock names.
make_venv() {
    local venv=$1 python
    # It is not moved or repaired, it is made again.
    if ! "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        python=$(find_python)
        if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
            update_package_lists
            apt_install "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
        fi
        say "creating $venv with $python"
        rm -rf "$venv"
        "$python" -m venv "$venv"
    fi
    # Before 3.12, venv adds a setuptools as old as that Python; no lock names it.
    "$venv/bin/python" -m pip uninstall --quiet --yes setuptools >/dev/null 2>&1 || true
}

install_venv() {
    local venv=$1
    make_venv "$venv"
    say "installing the packages of requirements.lock"
    pip_install "$venv/bin/python" --require-hashes -r "$lock"
    pip_install "$venv/bin/python" --no-deps --no-build-isolation --editable "$python_dir"
}

tools_lock=$here/requirements.lock

install_tools() {
    local venv=$1
    ! cmp -s "$tools_lock" "$venv/.installed" || return 0
    make_venv "$venv"
    say "installing pip-audit and uv"
    pip_install "$venv/bin/python" --require-hashes -r "$tools_lock"
    cp "$tools_lock" "$venv/.installed"
}

# The server embeds one Python, by the library that PL/Python is linked with. It need not be the one of the
# virtual environment, so its version is given to pip, which then picks the wheels for it.
install_re2() {
    local folder=$1 version
    version=$(plpython_version)
    [ -n "$version" ] || die "PL/Python is not installed"
    [ ! -e "$folder/.python-$version" ] || return 0
    say "installing RE2 for the server's Python $version"
    rm -rf "$folder"
    mkdir -p "$folder"
    # Only this package's lines: version and hashes have one home, the lock.
    sed -n '/^google-re2==/,/^[^ ]/{/^google-re2==/p;/^    --hash/p}' "$lock" >"$folder/requirements.txt"
    pip_install "$python_dir/../.venv/bin/python" --target "$folder" --python-version "$version" \
        --only-binary :all: --no-deps --require-hashes -r "$folder/requirements.txt"
    touch "$folder/.python-$version"
}

# ---------------------------------------------------------------- Node packages

node_packages=$python_dir/../tests/benchmarks/peers/node

# As package-lock.json says, by npm; the stamp is a copy of that file.
install_node() {
    local folder=$1 missing=() output
    if cmp -s "$node_packages/package-lock.json" "$folder/.installed" && command -v node >/dev/null; then
        return 0
    fi
    command -v node >/dev/null || missing+=(nodejs)
    command -v npm >/dev/null || missing+=(npm)
    if [ "${#missing[@]}" -gt 0 ]; then
        update_package_lists
        apt_install "${missing[@]}"
    fi
    say "installing the Node packages of the benchmark"
    mkdir -p "$folder"
    cp "$node_packages/package.json" "$node_packages/package-lock.json" "$folder/"
    output=$(npm ci --prefix "$folder" --no-fund --no-audit --ignore-scripts 2>&1 </dev/null) || {
        echo "$output"
        die "npm could not install the packages"
    }
    cp "$node_packages/package-lock.json" "$folder/.installed"
}

case "${1:-}" in
    server) install_server ;;
    pgbouncer) install_pgbouncer ;;
    containers) install_containers ;;
    venv) install_venv "$2" ;;
    tools) install_tools "$2" ;;
    re2) install_re2 "$2" ;;
    node) install_node "$2" ;;
    *) die "usage: setup.sh server | pgbouncer | containers | venv DIR | tools DIR | re2 DIR | node DIR" ;;
esac
