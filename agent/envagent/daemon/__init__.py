"""The daemon: the same work as a command's, in a process that stays (docs/daemon.md)."""
