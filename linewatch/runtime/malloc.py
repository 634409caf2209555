"""Tune glibc malloc for a long-running process with large images."""

import ctypes

LARGE_BYTES = 128 * 1024  # glibc's initial M_MMAP_THRESHOLD, before it adapts.
_C = ctypes.CDLL(None)
_M_MMAP_THRESHOLD, _M_ARENA_MAX = -3, -8  # malloc.h


def configure() -> bool:
    """Return freed images to the operating system at once, and use one arena for all threads.

    By default glibc raises its mmap threshold at the first freed image and then serves images from an
    arena per thread; a fragmented arena grows by whole images, hours after the start (mallopt(3)).
    Call it before threads start. Returns False where the C library has no mallopt.
    """
    mallopt = getattr(_C, "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, LARGE_BYTES)) and bool(mallopt(_M_ARENA_MAX, 1))


def trim() -> None:
    """Return free pages between small blocks to the operating system, too (malloc_trim(3)).

    Allocations in other threads wait meanwhile.
    """
    if hasattr(_C, "malloc_trim"):
        _C.malloc_trim(0)
