#!/usr/bin/env bash
# Prints the Python to use: one that is new enough and, if there are several, one that was built with
# profile-guided optimisation, since others take 5 to 18 % more time. PYTHON overrides.
set -euo pipefail

# Asking is the only proof: version managers put names on PATH that do not run.
is_new_enough() { "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; }

# The Python of a distribution is so built, but does not always say it.
is_optimised() {
    [[ $1 == /usr/bin/* ]] || "$1" -c 'import sys, sysconfig
sys.exit("--enable-optimizations" not in (sysconfig.get_config_var("CONFIG_ARGS") or ""))'
}

first=
for name in ${PYTHON:-python3.11 python3.12 python3.13 python3.14 python3}; do
    for found in $(type -aP "$name"); do
        is_new_enough "$found" || continue
        if [ -n "${PYTHON:-}" ] || is_optimised "$found"; then
            echo "$found"
            exit 0
        fi
        first=${first:-$found}
    done
done
if [ -n "$first" ]; then
    echo "$first"
    exit 0
fi
printf 'headgate: Python 3.11 or newer is needed; found: %s\n' \
    "$("${PYTHON:-python3}" -V 2>/dev/null || echo none)" >&2
exit 1
