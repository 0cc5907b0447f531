"""The swarm: this node takes verified pieces from its peers and gives them on (docs/swarm.md)."""
