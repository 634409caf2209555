"""The C library's heap as the daemon sets it."""

import platform
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, sys
from linewatch import heap
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


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="the setting is glibc's")
def test_pictures_are_mapped_on_their_own_whatever_was_freed_before() -> None:
    """A picture's memory goes back to the system, which glibc does not do by itself."""

    def mapped(*arguments: str) -> int:
        command = [sys.executable, "-c", PROGRAM, *arguments]
        return int(subprocess.run(command, check=True, capture_output=True, text=True).stdout)

    assert mapped() == 0
    assert mapped("settled") >= 1_000_000
