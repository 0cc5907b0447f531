"""What Grafana and Prometheus show of envmesh: dashboards, made by `python -m grafana`, and alerts, plain rule files.

A dashboard is written as rows of panels in Python and kept as JSON in `dashboards/`, which is what Grafana and the
chart read; a test refuses JSON that is not what these modules make. Which metrics there are is decided in the code
(docs/metrics.md lists them), never here.
"""
