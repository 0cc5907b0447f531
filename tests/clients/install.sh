#!/bin/sh
# Usage: install.sh UV PYTHON
# One virtual environment per pinned client, in .clients/NAME of the working directory: they do not agree on their
# dependencies. What is already there is left as it is. uv itself is a dependency of the tests and lives in .venv.
set -eu

uv=$1
python=$2

while read -r requirement; do
    home=.clients/${requirement%%[!a-z]*}
    "$uv" venv --quiet --allow-existing --python "$python" "$home"
    "$uv" pip install --quiet --python "$home/bin/python" "$requirement"
done < "$(dirname "$0")/requirements.txt"
