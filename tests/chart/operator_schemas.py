"""`operator_schemas.py`: the JSON schemas of the Prometheus operator's kinds, from its pydantic models, on stdout.

For the environment that has the models (install.sh). It is done once, for importing them takes seconds.
"""

import json
import sys

from cloudcoil.models.prometheus_operator import v1

KINDS = ("ServiceMonitor", "PodMonitor", "PrometheusRule")

if __name__ == "__main__":
    json.dump({kind: getattr(v1, kind).model_json_schema(by_alias=True) for kind in KINDS}, sys.stdout)
