"""From what was asked for to a lock: PyPI by uv, Conda by py-rattler, both for any machine from this one."""
