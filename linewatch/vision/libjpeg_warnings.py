"""Learn from libjpeg's warnings, which it only prints, that an image was decoded from damaged data."""

import os
import sys
import threading
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

Decoded = NDArray[np.generic] | None
Decode = Callable[[], Decoded]

_STDERR = 2
_WARNING = b"Corrupt JPEG data"
undiverted = threading.Lock()  # Held during a diversion, which is of the whole process.


def decode_strictly(decode: Decode) -> tuple[Decoded, bool]:
    """Return what `decode` returns, and whether libjpeg warned of corrupt data.

    What else is written to stderr meanwhile, by any thread, is passed on afterwards; the log goes elsewhere.
    A process that inherits stderr must be started with `undiverted` held, or its output is lost.
    A second attempt
    confirms the warning, since a camera's own JPEG frames may be damaged at the same moment.
    """
    image, warned = _diverted(decode)
    return (image, False) if not warned else _diverted(decode)


def _diverted(decode: Decode) -> tuple[Decoded, bool]:
    with undiverted:
        sys.stderr.flush()
        before, scratch = os.dup(_STDERR), os.memfd_create("stderr")
        try:
            os.dup2(scratch, _STDERR)
            try:
                image = decode()
            finally:
                os.dup2(before, _STDERR)
                os.lseek(scratch, 0, os.SEEK_SET)
                lines = os.read(scratch, os.fstat(scratch).st_size).splitlines(keepends=True)
                others = [line for line in lines if not line.startswith(_WARNING)]
                if others:
                    os.write(_STDERR, b"".join(others))
        finally:
            os.close(before)
            os.close(scratch)
    return image, len(others) < len(lines)
