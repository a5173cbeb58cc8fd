#!/usr/bin/env bash
# A private Podman for the container tests, where no Docker engine answers. Needs root, Debian's packages, and no
# image registry: the base image is made from the distribution's own packages.
#
#   containers.sh image          install what is missing, build the image of docker/Dockerfile, print its name
#   containers.sh service FILE   serve Docker's API on the socket FILE, until it is terminated
#   containers.sh clean          remove images, containers and settings
#
# Images are kept under build/containers/ and named for what they were built from, so that a later run finds
# them. Nothing of this touches a Podman of the user's own: storage, locks and settings are apart, and containers
# have the host's network, because port mapping is by firewall rules that all Podmans of a machine share.
set -euo pipefail

tools=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(cd "$tools/../.." && pwd)
state=$root/build/containers
# Short, as sockets in it have a path of at most 107 bytes; on a file system that a restart empties.
id=$(echo "$root" | cksum | cut -d ' ' -f 1)
run=/run/pgrules-$id
base=docker.io/library/debian:bookworm-slim

say() { echo "containers: $*" >&2; }
die() { echo "containers: error: $*" >&2; exit 1; }

export CONTAINERS_CONF=$state/containers.conf
export CONTAINERS_STORAGE_CONF=$state/storage.conf
export CONTAINERS_REGISTRIES_CONF=$state/registries.conf

write_settings() {
    mkdir -p "$state" "$run"
    # The API refuses soft limits that differ from the hard ones. File locks, because those in shared memory are
    # one set for the whole machine.
    cat >"$CONTAINERS_CONF" <<CONF
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
lock_type = "file"
tmp_dir = "$run/libpod"
[network]
network_backend = "netavark"
network_config_dir = "$state"
CONF
    cat >"$CONTAINERS_STORAGE_CONF" <<CONF
[storage]
driver = "overlay"
graphroot = "$state/storage"
runroot = "$run/storage"
[storage.options.overlay]
skip_mount_home = "true"
CONF
    # A missing image must fail at once, not wait for a registry.
    cat >"$CONTAINERS_REGISTRIES_CONF" <<CONF
unqualified-search-registries = ["docker.io"]
short-name-mode = "disabled"
[[registry]]
location = "docker.io"
blocked = true
CONF
}

# Debian bookworm from the sources that this machine's apt uses for it, or from Debian's mirrors.
debian_sources() {
    local sources
    # $(...) below are apt's own placeholders.
    # shellcheck disable=SC2016
    sources=$(apt-get indextargets --format 'deb $(REPO_URI) $(RELEASE) $(COMPONENT)' \
        'Created-By: Packages' 'Origin: Debian' 2>/dev/null | grep ' bookworm' | sort -u) || sources=
    if [ -n "$sources" ]; then
        echo "$sources"
    else
        echo 'deb http://deb.debian.org/debian bookworm main'
        echo 'deb http://deb.debian.org/debian bookworm-updates main'
        echo 'deb http://deb.debian.org/debian-security bookworm-security main'
    fi
}

make_base() {
    ! podman image exists "$base" || return 0
    say "making $base from Debian's packages"
    debian_sources >"$state/sources.list"
    mmdebstrap --quiet --variant=minbase --dpkgopt='path-exclude=/usr/share/doc/*' \
        --dpkgopt='path-exclude=/usr/share/man/*' --dpkgopt='path-exclude=/usr/share/locale/*' \
        --keyring=/usr/share/keyrings/debian-archive-keyring.gpg \
        bookworm "$state/base.tar" - <"$state/sources.list" >"$state/base.log" 2>&1 ||
        { cat "$state/base.log" >&2; die "the base image cannot be made"; }
    podman import --quiet "$state/base.tar" "$base" >/dev/null
    rm "$state/base.tar"
}

# How this machine's pip reaches its package index, for the pip inside the build.
pip_settings() {
    local certificates
    mkdir -p "$state/pip"
    certificates=${PIP_CERT:-$("$root/.venv/bin/python" -m pip config get global.cert 2>/dev/null)} || certificates=
    {
        echo '[global]'
        "$root/.venv/bin/python" -m pip config list 2>/dev/null |
            sed -n "s/^global\.\(index-url\|proxy\|trusted-host\)='\(.*\)'/\1 = \2/p" || true
        if [ -n "$certificates" ]; then
            cp -L "$certificates" "$state/pip/certificates.pem"
            echo 'cert = /run/pip/certificates.pem'
        fi
    } >"$state/pip/pip.conf"
}

image_name() {
    local key
    key=$(cd "$root" && cat .dockerignore docker/* python/requirements.lock | sha256sum | cut -c 1-12)
    echo "localhost/pgrules-postgres:$key"
}

build_image() {
    local image
    image=$(image_name)
    if ! podman image exists "$image"; then
        make_base
        pip_settings
        say "building $image"
        # chroot: the default isolation fails where cgroups of both versions are mounted.
        podman build --isolation=chroot --pull=never --file "$root/docker/Dockerfile" --tag "$image" \
            --volume "$state/pip:/run/pip:ro" --volume "$state/pip/pip.conf:/etc/pip.conf:ro" \
            "$root" >"$state/build.log" 2>&1 </dev/null ||
            { tail -n 40 "$state/build.log" >&2; die "the image cannot be built"; }
        # What earlier contents left, except where a run still uses it.
        podman image ls --format '{{.Repository}}:{{.Tag}}' localhost/pgrules-postgres | grep -vxF "$image" |
            xargs -r podman image rm >/dev/null 2>&1 || true
    fi
    echo "$image"
}

case "${1:-}" in
    image)
        [ "$(id -u)" -eq 0 ] || die "a private Podman needs root"
        "$tools/setup.sh" containers
        mkdir -p "$state"
        exec 9>"$state/lock"
        flock 9
        write_settings
        build_image 9>&-
        ;;
    service)
        exec podman system service --time=0 "unix://$2"
        ;;
    clean)
        if [ -d "$state/storage" ] && command -v podman >/dev/null; then
            podman rm --all --force --time 0 >/dev/null 2>&1 || true
        fi
        # Only what a killed run may have left mounted.
        awk -v under="$state/" -v run="$run/" 'index($2, under) == 1 || index($2, run) == 1 { print $2 }' /proc/mounts |
            sort -r | xargs -r -n 1 umount 2>/dev/null || true
        rm -rf "$state" "$run"
        ;;
    *) die "usage: containers.sh image | service FILE | clean" ;;
esac
