"""linewatch: live camera line inspection, one process for one camera."""

import os

__version__ = "0.1.0"

PIXELS_MAX = 50_000_000
"""Larger pictures are refused before they are decoded, whoever sends them."""

# OpenCV reads these when it is loaded, so they stand where nothing can have loaded it yet.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(PIXELS_MAX))
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # What it complains about becomes our own sentence.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # The same for FFmpeg; -8 is its word for silent.
# On two cores a second thread waits for the inference engine: with one, verdicts come sooner and more evenly.
os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "2")  # Seconds; 10 would outlast a stop.
