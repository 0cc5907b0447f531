#!/bin/sh
# Installs what the tests take from Debian, if it is missing: prometheus, with promtool; ip, tc and nft, for networks of
# namespaces. Where that cannot be done (no root, no apt, no network) it says so and succeeds: the tests that need it are
# skipped, and say why.
set -eu

missing=
command -v prometheus >/dev/null && command -v promtool >/dev/null || missing="$missing prometheus"
command -v ip >/dev/null && command -v tc >/dev/null || missing="$missing iproute2"
command -v nft >/dev/null || missing="$missing nftables"
if [ -z "$missing" ]; then
    exit 0
fi
if [ "$(id -u)" -ne 0 ] || ! command -v apt-get >/dev/null; then
    echo "only root can install$missing with apt-get: the tests of these are skipped" >&2
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
# shellcheck disable=SC2086  # several words
$apt update >&2 && $apt install -y --no-install-recommends $missing >&2 ||
    echo "could not be installed, so their tests are skipped:$missing" >&2
