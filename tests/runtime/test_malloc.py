"""glibc malloc as the daemon configures it."""

import platform
import subprocess
import sys

import pytest

LARGE = """
import ctypes, sys
from linewatch.runtime import malloc
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_void_p]
class Info(ctypes.Structure):  # struct mallinfo2
    _fields_ = [(name, ctypes.c_size_t) for name in "arena free small large mapped a b c d e".split()]
libc.mallinfo2.restype = Info
if "configured" in sys.argv:
    assert malloc.configure()
libc.free(libc.malloc(6_000_000))  # The first image raises glibc's mmap threshold.
before = libc.mallinfo2().mapped
libc.malloc(1_000_000)
print(libc.mallinfo2().mapped - before)
"""

SMALL = """
from pathlib import Path
from linewatch.runtime import malloc
def resident():
    return int(Path("/proc/self/statm").read_text().split()[1]) * 4096
malloc.configure()
blocks = [bytes(5_000) for _ in range(10_000)]
del blocks[:-1]
before = resident()
malloc.trim()
print(before - resident())
"""

glibc = pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")


def number_from(program: str, *arguments: str) -> int:
    """Run a program in a new process, because mallopt cannot be undone."""
    command = [sys.executable, "-c", program, *arguments]
    return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)


@glibc
def test_images_are_mapped_separately_whatever_was_freed_before() -> None:
    """A freed image goes back to the system, which glibc does not do by default."""
    assert number_from(LARGE) == 0
    assert number_from(LARGE, "configured") >= 1_000_000


@glibc
def test_trim_returns_memory_below_a_block_in_use() -> None:
    """Fifty megabytes of small blocks are freed, except the last one."""
    assert number_from(SMALL) >= 40_000_000
