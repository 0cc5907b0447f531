"""Locks: what an environment is made of, to the byte, and how other tools write the same thing down."""
