"""Memory that is free, but not given back to the system."""

from __future__ import annotations

import ctypes
import sys


def give_back() -> bool:
    """Give memory that was freed back to the system; return whether there was any.

    Linux's C library keeps what training frees, some 500 MB in pieces, for what it will allocate
    next, and large tables do not fit in there.

    Examples
    --------
    >>> given_back = give_back()
    """
    if sys.platform != "linux":
        return False
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # others than the GNU C library lack it
    return trim is not None and bool(trim(0))
