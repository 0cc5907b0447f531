"""The files face: artifacts of any kind from other places, cached and pinned to their sha256."""
