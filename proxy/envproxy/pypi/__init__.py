"""The PyPI face: simple pages, files, metadata sidecars and uploads."""
