"""The C library's heap as the daemon sets it."""

import platform
import subprocess
import sys

import pytest

LARGE = """
import ctypes, sys
from linewatch.runtime import malloc as heap
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
class Info(ctypes.Structure):  # struct mallinfo2
    _fields_ = [(name, ctypes.c_size_t) for name in "arena free small large mapped a b c d e".split()]
libc.mallinfo2.restype = Info
if "settled" in sys.argv:
    assert heap.settle()
libc.free(libc.malloc(6_000_000))  # The first picture teaches glibc what is usual.
before = libc.mallinfo2().mapped
libc.malloc(1_000_000)
print(libc.mallinfo2().mapped - before)
"""

SMALL = """
from pathlib import Path
from linewatch.runtime import malloc as heap
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
heap.settle()
blocks = [bytes(5_000) for _ in range(10_000)]
del blocks[:-1]
before = resident()
heap.trim()
print(before - resident())
"""

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")


def number_from(program: str, *arguments: str) -> int:
    """Run a program of its own, for what cannot be taken back."""
    command = [sys.executable, "-c", program, *arguments]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@glibc
def test_pictures_are_mapped_on_their_own_whatever_was_freed_before() -> None:
    """A picture's memory goes back to the system, which glibc does not do by itself."""
    assert number_from(LARGE) == 0
    assert number_from(LARGE, "settled") >= 1_000_000


@glibc
def test_a_trim_gives_back_what_lies_below_a_block_in_use() -> None:
    """Fifty megabytes of small blocks were freed, but for the last."""
    assert number_from(SMALL) >= 40_000_000
