"""envagent: the node agent. It locks environments and makes them; docs/architecture.md describes its rooms."""
