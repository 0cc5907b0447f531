"""The Conda face: channels, mirrored and hosted, flat and sharded."""
