"""The cache engine: content-addressed blobs, a catalog, single flights and upstreams."""
