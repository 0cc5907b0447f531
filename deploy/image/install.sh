#!/bin/sh
# Usage: install.sh ENVIRONMENT
# What the image holds, into an environment that has pip and nothing else: first our dependencies as the lock has them,
# then envmesh itself, built with tools that are locked too. Run it in the root of the repository.
set -eu

here=$(dirname "$0")
pip="$1/bin/python -m pip --disable-pip-version-check --no-input --quiet"

$pip install --no-deps --only-binary :all: --require-hashes --requirement "$here/requirements.txt"

# The tools go into a folder that does not stay. Without isolation the build takes them from there, and asks nobody.
tools=$(mktemp -d)
trap 'rm -rf "$tools"' EXIT
$pip install --no-deps --only-binary :all: --require-hashes --target "$tools" --requirement "$here/build.txt"
PYTHONPATH=$tools $pip install --no-deps --no-index --no-build-isolation .

# Nothing is installed into an image that runs.
$pip uninstall --yes setuptools pip
