#!/bin/sh
# Installs what the benchmarks take from Debian, if it is missing: wrk (the load) and nginx (a peer). Needs root.
set -eu

missing=
command -v wrk >/dev/null || missing="$missing wrk"
command -v nginx >/dev/null || missing="$missing nginx-light"
if [ -n "$missing" ]; then
    apt-get update -qq
    # shellcheck disable=SC2086 # two names, two words
    apt-get install -y -qq --no-install-recommends $missing
fi
