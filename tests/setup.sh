#!/bin/sh
# Installs what the tests take from Debian, if it is missing: prometheus, with promtool. Where that cannot be done (no
# root, no apt, no network) it says so and succeeds: the tests that need it are skipped, and say why.
set -eu

if command -v prometheus >/dev/null && command -v promtool >/dev/null; then
    exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "prometheus is not here and only root can install it with apt-get: its tests are skipped" >&2
    exit 0
fi
# A freshly installed Prometheus would start to serve; what policy-rc.d refuses (101) stays down.
policy=/usr/sbin/policy-rc.d
if [ ! -e "$policy" ]; then
    printf '#!/bin/sh\nexit 101\n' >"$policy"
    chmod +x "$policy"
    trap 'rm -f "$policy"' EXIT
fi
export DEBIAN_FRONTEND=noninteractive
apt="apt-get -qq -o DPkg::Lock::Timeout=300 -o Acquire::Retries=1 -o Acquire::http::Timeout=30"
$apt update >&2 && $apt install -y --no-install-recommends prometheus >&2 ||
    echo "prometheus could not be installed: its tests are skipped" >&2
