"""The swarm: which agent fetches which piece from the proxy, and who has it for the others."""
