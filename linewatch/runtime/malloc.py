"""The C library's heap, told that this process handles pictures for months."""

import ctypes

LARGE_BYTES = 128 * 1024  # Where glibc begins, before it learns.
_C = ctypes.CDLL(None)
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # malloc.h


def settle() -> bool:
    """Give large blocks back to the system when they are freed, and let all threads share one arena.

    glibc learns from the first freed picture that blocks of this size belong into an arena, of which
    each thread gets its own: one that is fragmented grows by whole pictures, hours after the start
    (mallopt(3)). Call it before threads start. Returns False where the C library has no such setting.
    """
    mallopt = getattr(_C, "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)) and bool(mallopt(_M_ARENA_MAX, 1))


def trim() -> None:
    """Give back the holes between small blocks, too (malloc_trim(3)); meanwhile nobody else allocates."""
    if hasattr(_C, "malloc_trim"):
        _C.malloc_trim(0)
