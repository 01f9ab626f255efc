#!/usr/bin/env bash
# Usage: scripts/system.sh python|test|bench|packages
# Makes sure that the programs a part of the project needs are on this machine.
# Says nothing when they are; otherwise installs them from apt, or prints what to install.
set -euo pipefail
cd "$(dirname "$0")/.."

have() { command -v "$1" >/dev/null 2>&1; }
have_server() { have "$1" || [ -x "/usr/sbin/$1" ]; }  # which is not on everybody's PATH
have_nginx() { have_server nginx; }

fail() {
    printf 'headgate: %s\n' "$@" >&2
    exit 1
}

# Installs the given apt packages: as root, through a password-free sudo, or not at all.
install() {
    local prefix=()
    have apt-get || fail "please install what Debian calls: $*"
    if [ "$(id -u)" -ne 0 ]; then
        sudo -n true 2>/dev/null || fail "please run: sudo apt-get install $*"
        prefix=(sudo -n)
    fi
    printf 'headgate: installing %s\n' "$*" >&2
    "${prefix[@]}" apt-get update -qq
    "${prefix[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get install -qq -y --no-install-recommends "$@" >&2
}

# The same for a package that would also start a service, which Debian lets this file forbid.
install_without_service() {
    local policy=/usr/sbin/policy-rc.d prefix=()
    [ "$(id -u)" -eq 0 ] || prefix=(sudo -n)
    if [ -e "$policy" ] || ! printf '#!/bin/sh\nexit 101\n' | "${prefix[@]}" tee "$policy" >/dev/null 2>&1; then
        install "$@"
        return
    fi
    "${prefix[@]}" chmod 755 "$policy"
    # In a shell of its own, so that the file goes away also when installing fails.
    (trap '"${prefix[@]}" rm -f "$policy"' EXIT && install "$@")
}

can_make_venvs() { "$1" -c 'import ensurepip, venv' 2>/dev/null; }

need_python() {
    local python
    have "${PYTHON:-python3}" || install python3 python3-venv
    python=$(scripts/python.sh)
    can_make_venvs "$python" && return
    # Debian splits venv off; python3-venv serves the default python, others have their own.
    install "$("$python" -c 'import sys; print("python%d.%d-venv" % sys.version_info[:2])')"
    can_make_venvs "$python" || fail "$python cannot make virtual environments"
}

need_test_tools() {
    local missing=()
    have chromium || missing+=(chromium)
    have firefox-esr || missing+=(firefox-esr)
    have curl || missing+=(curl)
    have openssl || missing+=(openssl)
    have faketime || missing+=(faketime)
    echo '#include <stdio.h>' | cc -E - >/dev/null 2>&1 || missing+=(gcc libc6-dev)
    [ ${#missing[@]} -eq 0 ] || install "${missing[@]}"
    have redis-server || install_without_service redis-server
    have promtool || install_without_service prometheus
    have systemd-analyze && have systemd-socket-activate || install_without_service systemd
    local edges=()
    have_nginx || edges+=(nginx)
    [ -e /usr/lib/nginx/modules/ngx_http_js_module.so ] || edges+=(libnginx-mod-http-js)
    [ -e /usr/lib/nginx/modules/ngx_http_cache_purge_module.so ] ||
        edges+=(libnginx-mod-http-cache-purge)
    have_server varnishd || edges+=(varnish)
    have_server haproxy || edges+=(haproxy)
    have caddy || edges+=(caddy)
    [ ${#edges[@]} -eq 0 ] || install_without_service "${edges[@]}"
}

need_bench_tools() {
    local missing=()
    have_nginx || missing+=(nginx)
    [ -e /usr/lib/nginx/modules/ngx_nchan_module.so ] || missing+=(libnginx-mod-nchan)
    have taskset || missing+=(util-linux)
    [ ${#missing[@]} -eq 0 ] || install "${missing[@]}"
}

need_package_tools() {
    local missing=()
    have_server debootstrap || missing+=(debootstrap)
    have lintian || missing+=(lintian)
    [ ${#missing[@]} -eq 0 ] || install "${missing[@]}"
}

case "${1:-}" in
    python) need_python ;;
    test) need_test_tools ;;
    bench) need_bench_tools ;;
    packages) need_package_tools ;;
    *) fail "usage: scripts/system.sh python|test|bench|packages" ;;
esac
