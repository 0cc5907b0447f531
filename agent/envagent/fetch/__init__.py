"""Downloads: the artifacts of a lock, from the proxy or its upstreams, verified and kept by digest."""
