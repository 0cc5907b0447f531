"""`python -m grafana` writes `dashboards/*.json` anew."""

from grafana.dashboard import DIRECTORY
from grafana.overview import OVERVIEW
from grafana.swarm import SWARM
from grafana.upstreams import UPSTREAMS

for dashboard in (OVERVIEW, SWARM, UPSTREAMS):
    (DIRECTORY / f"{dashboard.name}.json").write_text(dashboard.json(), "utf-8")
