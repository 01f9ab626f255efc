#!/usr/bin/env bash
# Prints the first Python that is new enough, or says what was found instead. PYTHON overrides.
set -euo pipefail

for name in ${PYTHON:-python3.11 python3.12 python3.13 python3.14 python3.15 python3}; do
    # Asking is the only proof: version managers put names on PATH that do not run.
    if "$name" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
        command -v "$name"
        exit 0
    fi
done
printf 'headgate: Python 3.11 or newer is needed; found: %s\n' \
    "$("${PYTHON:-python3}" -V 2>/dev/null || echo none)" >&2
exit 1
