#!/bin/sh
# Usage: install.sh UV PYTHON
# The peers from the package index, each in a virtual environment of its own in .bench/ of the working directory: they
# agree neither with one another nor with us on their dependencies. What is already there is left as it is.
set -eu

uv=$1
python=$2

mkdir -p .bench
echo '*' >.bench/.gitignore

install() {
    home=.bench/$1
    shift
    "$uv" venv --quiet --allow-existing --python "$python" "$home"
    "$uv" pip install --quiet --python "$home/bin/python" "$@"
}

install devpi devpi-server==6.20.3
install proxpi proxpi==1.3.1 gunicorn==23.0.0
install libtorrent libtorrent==2.1.1
