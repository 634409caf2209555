"""The C library's heap, told that this process handles pictures for months."""

import ctypes

LARGE_BYTES = 128 * 1024  # Where glibc begins, before it learns.
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # malloc.h


def settle() -> bool:
    """Give large blocks back to the system when they are freed, and let all threads share one arena.

    glibc learns from the first freed picture that blocks of this size belong into an arena, of which
    each thread gets its own: one that is fragmented grows by whole pictures, hours after the start
    (mallopt(3)). Call it before threads start. Returns False where the C library has no such setting.
    """
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)) and bool(mallopt(_M_ARENA_MAX, 1))
