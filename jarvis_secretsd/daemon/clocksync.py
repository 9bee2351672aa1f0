"""Does anything keep the clock right? The kernel knows (adjtimex(2))."""

from __future__ import annotations

import ctypes

_TIME_ERROR = 5
"""From linux/timex.h: the clock isn't synchronised."""

_SIZE = 512
"""More than a struct timex has on any architecture; zeros ask for nothing to be changed."""


def is_synchronised() -> bool | None:
    """Is the clock kept right, as far as the kernel was told? None: it won't say."""
    libc = ctypes.CDLL(None, use_errno=True)
    state = libc.adjtimex(ctypes.create_string_buffer(_SIZE))
    return None if state < 0 else state != _TIME_ERROR
