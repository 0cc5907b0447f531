"""From verified wheels to a working environment: read, unpack once into the node store, link into a prefix.

`prefix.materialize` is the way in; docs/materialize.md tells the whole story. Nothing here downloads or resolves.
"""
