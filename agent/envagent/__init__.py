"""envagent: the node agent. Its rooms are described in docs/architecture.md; none is built yet."""
