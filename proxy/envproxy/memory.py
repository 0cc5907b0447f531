"""Gives large buffers back to the system as soon as they are freed.

glibc takes every large buffer that is freed as a reason to carve the next ones of that size out of its heaps, which
it seldom returns: one project page of 10 MB leaves a process 60 MB larger for good. A fixed threshold keeps large
buffers in mappings of their own. Other C libraries do not need this, and do not have it.
"""

from __future__ import annotations

import ctypes

_M_MMAP_THRESHOLD = -3  # malloc.h
# Above the pieces in which files are read and sent, for those come and go thousands of times a second.
_THRESHOLD_BYTES = 1024 * 1024


def return_large_buffers() -> None:
    """To be called once, before the process has grown."""
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is not None:
        mallopt(_M_MMAP_THRESHOLD, _THRESHOLD_BYTES)
