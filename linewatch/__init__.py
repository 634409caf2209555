"""linewatch: live camera line inspection, one process for one camera."""

import os
import sys

__version__ = "0.1.0"

PIXELS_MAX = 50_000_000
"""Larger images are refused before they are decoded, whatever their source."""

# OpenCV reads these when it is imported, so they are set before any other import.
os.environ.setdefault("OPENCV_IO_MAX_IMAGE_PIXELS", str(PIXELS_MAX))
os.environ.setdefault("OPENCV_LOG_LEVEL", "SILENT")  # Its problems are reported in our own words.
os.environ.setdefault("OPENCV_FFMPEG_LOGLEVEL", "-8")  # The same for FFmpeg; -8 is silent.
# On two cores a second thread waits for the inference engine: with one, verdicts come sooner and more evenly.
os.environ.setdefault("OPENCV_FOR_THREADS_NUM", "1")
os.environ.setdefault("OPENCV_VIDEOIO_V4L_SELECT_TIMEOUT", "2")  # Seconds; 10 would outlast a stop.
# OpenVINO goes without its telemetry if that cannot be imported: no station sends anything to its maker.
sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]  # None refuses the import.
