#!/bin/sh
# Make one environment with every Conda client that is installed here, from one channel, usually behind envproxy.
#
#   conda-clients.sh CHANNEL_URL SPEC...
#   conda-clients.sh http://127.0.0.1:8417/conda/conda-forge python=3.12
#
# Every client starts in an empty home without caches and configuration, so everything comes over the wire. One line
# is printed for each: that it works and how many packages came, that it failed, or why it was skipped. A client that
# fetched a package from elsewhere than the channel has failed. CONDA, MAMBA, MICROMAMBA and PIXI name the commands
# where they are not on the PATH: CONDA="/opt/venv/bin/python -m conda". Exit status: 1 if any client failed.
set -u

[ $# -ge 2 ] || { sed -n '2,5s/^# \{0,1\}//p' "$0" >&2; exit 2; }
channel=${1%/}
shift
room=$(mktemp -d)
trap 'rm -rf "$room"' EXIT
failed=0

# clean COMMAND...: run it with nothing of the user's own configuration.
clean() {
    env -i PATH="$PATH" HOME="$home" MAMBA_ROOT_PREFIX="$home/root" PIXI_HOME="$home/pixi" \
        RATTLER_CACHE_DIR="$home/cache" CONDA_PKGS_DIRS="$home/packages" \
        CONDA_ADD_PIP_AS_PYTHON_DEPENDENCY=false "$@"
}

# Each makes an environment of the specs in $prefix. The commands may have words of their own, so they are split.
make_with_conda() {
    # shellcheck disable=SC2086
    clean $command create --yes --quiet --prefix "$prefix" --override-channels --channel "$channel" "$@"
}

make_with_mamba() {
    # shellcheck disable=SC2086
    clean $command create --yes --quiet --no-rc --prefix "$prefix" --override-channels --channel "$channel" "$@"
}

make_with_pixi() {
    # shellcheck disable=SC2086
    clean $command init --quiet --channel "$channel" "$home/project" &&
        clean $command add --quiet --manifest-path "$home/project/pixi.toml" "$@"
}

# try NAME MAKE COMMAND PREFIX SPEC...
try() {
    name=$1 make=$2 command=$3 home=$room/$1 prefix=$room/$1/$4
    shift 4
    if ! command -v "${command%% *}" >/dev/null 2>&1; then
        echo "$name: skipped, it is not installed"
        return
    fi
    mkdir "$home"
    if ! "$make" "$@" >"$home/log" 2>&1; then
        echo "$name: failed"
        sed 's/^/    /' "$home/log"
        failed=1
        return
    fi
    came "$name" "$prefix/conda-meta"
}

# came NAME CONDA_META: where its packages came from.
came() {
    all=$(find "$2" -name '*.json' | wc -l)
    ours=$(grep -lF "\"$channel/" "$2"/*.json | wc -l)
    if [ "$all" -gt 0 ] && [ "$all" -eq "$ours" ]; then
        echo "$1: works, $((all)) packages"
    else
        echo "$1: failed, only $((ours)) of $((all)) packages came from $channel"
        failed=1
    fi
}

try conda make_with_conda "${CONDA:-conda}" env "$@"
try mamba make_with_mamba "${MAMBA:-mamba}" env "$@"
try micromamba make_with_mamba "${MICROMAMBA:-micromamba}" env "$@"
try pixi make_with_pixi "${PIXI:-pixi}" project/.pixi/envs/default "$@"
exit $failed
