"""linewatch: live camera line inspection, one process for one camera."""

import os

__version__ = "0.1.0"

PIXELS_MAX = 50_000_000
"""Larger pictures are refused before they are decoded, whoever sends them."""

# OpenCV reads this when it is loaded, so it stands where nothing can have loaded it yet.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(PIXELS_MAX))
