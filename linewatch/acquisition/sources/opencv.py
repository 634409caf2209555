"""Cameras, RTSP streams and video files through OpenCV."""

import atexit
import logging
import os
import re
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self
from urllib.parse import urlsplit

import cv2
import numpy as np

from linewatch.acquisition.sources.folder import missing
from linewatch.domain import Frame
from linewatch.errors import CameraLost, ConfigError

READERS_MAX = 4  # With so many threads hanging in a driver, it is not opened again.
JOIN_S = 0.5  # A working camera delivers a frame within this, and its reader ends.
# Without these, FFmpeg keeps 20 to 28 frames from before the first read.
_RTSP_OPTIONS = "rtsp_transport;tcp|fflags;nobuffer|flags;low_delay|analyzeduration;0|probesize;32"
_OPTIONS_VARIABLE = "OPENCV_FFMPEG_CAPTURE_OPTIONS"

log = logging.getLogger(__name__)


class VideoCapture(Protocol):
    """The part of cv2.VideoCapture that is used here; every call may block."""

    def isOpened(self) -> bool:  # noqa: N802 - OpenCV's name
        """Return whether the device or stream is open."""

    def read(self) -> tuple[bool, Any]:
        """Wait for the next image; the first value is False when there is none."""

    def release(self) -> None:
        """Close the device or stream."""


class VideoFile:
    """A recorded video: every frame is an exposure."""

    def __init__(self, path: Path, *, loop: bool = False) -> None:
        self.name = str(path)
        self.live = False
        self._path = path
        self._loop = loop
        self._capture: cv2.VideoCapture | None = None
        self._frames_read = 0

    def __enter__(self) -> Self:
        """Open the file. Raises ConfigError when it cannot be played."""
        if not self._path.is_file():
            raise missing(self._path)(f"source.uri {self.name!r} does not exist; name a video file")
        self._capture = self._open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the file."""
        if self._capture is not None:
            self._capture.release()
            self._capture = None

    def read(self) -> Frame | None:
        """Return the next frame, None after the last. Raises ConfigError when there is not even one."""
        assert self._capture is not None, "read outside of the with block"
        done, image = self._capture.read()
        if not done:
            self._check_complete()
            if not self._loop:
                return None
            self._capture.release()
            self._capture = self._open()
            done, image = self._capture.read()
            if not done:
                raise ConfigError(f"source.uri {self.name!r} was removed; put the video file back")
        self._frames_read += 1
        return _frame(image)

    def _open(self) -> cv2.VideoCapture:
        self._frames_read = 0
        # An absolute path cannot be mistaken for one of FFmpeg's protocols.
        capture = cv2.VideoCapture(str(self._path.absolute()), cv2.CAP_FFMPEG)
        if not capture.isOpened():
            capture.release()
            raise ConfigError(f"source.uri {self.name!r} is not a video that can be played; use MP4 or AVI")
        return capture

    def _check_complete(self) -> None:
        assert self._capture is not None
        expected = round(self._capture.get(cv2.CAP_PROP_FRAME_COUNT))
        if self._frames_read == 0:
            raise ConfigError(f"source.uri {self.name!r} holds no frame that can be decoded; record it again")
        if self._frames_read < expected:
            log.warning("video_cut_off path=%r frames=%d expected=%d", self.name, self._frames_read, expected)


class LiveSource:
    """A camera, read by its own thread: frames do not age in a buffer, a hanging driver blocks no caller."""

    def __init__(
        self,
        name: str,
        open_capture: Callable[[], VideoCapture],
        *,
        open_timeout_s: float,
        read_timeout_s: float,
    ) -> None:
        """`name` is for messages; `open_capture` is called in the reading thread and may block."""
        self.name = name
        self.live = True
        self._open_capture = open_capture
        self._open_timeout_s = open_timeout_s
        self._read_timeout_s = read_timeout_s
        self._wait_s = open_timeout_s
        self._reader: _Reader | None = None

    def __enter__(self) -> Self:
        """Open it. Raises CameraLost when it does not answer in time."""
        thread_name = f"reader {self.name}"
        hung = sum(thread.name == thread_name for thread in threading.enumerate())
        if hung >= READERS_MAX:
            raise CameraLost(self.name, f"its driver hangs in {hung} calls; restart linewatch or the machine")
        self._wait_s = self._open_timeout_s  # The first frame is covered by the time-out for opening.
        patience_s = max(self._open_timeout_s, self._read_timeout_s) + 1.0
        self._reader = _Reader(thread_name, self._open_capture, patience_s)
        self._reader.start()
        try:
            self._reader.wait_opened(self.name, self._open_timeout_s)
        except CameraLost:
            self._reader.finish()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the device; a reader that hangs in the driver is left behind."""
        if self._reader is not None:
            self._reader.finish()
            self._reader = None

    def read(self) -> Frame | None:
        """Return the newest frame not returned before, never None. Raises CameraLost."""
        assert self._reader is not None, "read outside of the with block"
        frame = self._reader.take(self.name, self._wait_s)
        self._wait_s = self._read_timeout_s
        return frame


class _Reader(threading.Thread):
    """Reads a capture as fast as it delivers and keeps only the newest frame."""

    def __init__(self, name: str, open_capture: Callable[[], VideoCapture], patience_s: float) -> None:
        super().__init__(name=name, daemon=True)  # A hung driver must not keep the process alive.
        self._open_capture = open_capture
        self._patience_s = patience_s
        self._changed = threading.Condition()
        self._opened = False
        self._ended = False
        self._finished = False
        self._newest: Frame | None = None

    def start(self) -> None:
        """Start reading; at exit the process waits for a call into OpenCV, up to the longest time-out."""
        # A daemon thread that returns from C++ while Python shuts down aborts the process.
        atexit.register(self._end_with_process)
        super().start()

    def run(self) -> None:
        """Open, read until the capture ends or `finish` is called, release."""
        try:
            capture = self._open_capture()
            try:
                self._pump(capture)
            finally:
                capture.release()
        finally:
            with self._changed:
                self._ended = True
                self._changed.notify_all()
            atexit.unregister(self._end_with_process)

    def wait_opened(self, device: str, timeout_s: float) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._opened or self._ended, timeout_s)
            if not self._opened:
                problem = "cannot be opened" if self._ended else f"did not open within {timeout_s:g} s"
                raise CameraLost(device, problem)

    def take(self, device: str, timeout_s: float) -> Frame:
        with self._changed:
            self._changed.wait_for(lambda: self._newest is not None or self._ended, timeout_s)
            frame, self._newest = self._newest, None
            if frame is None:
                problem = "the stream ended" if self._ended else f"no frame for {timeout_s:g} s"
                raise CameraLost(device, problem)
            return frame

    def finish(self) -> None:
        with self._changed:
            self._finished = True
            self._newest = None  # A reader that is left behind keeps no image.
        self.join(JOIN_S)

    def _end_with_process(self) -> None:
        with self._changed:
            self._finished = True
        self.join(self._patience_s)

    def _pump(self, capture: VideoCapture) -> None:
        if not capture.isOpened():
            return
        with self._changed:
            self._opened = True
            self._changed.notify_all()
        while True:
            done, image = capture.read()
            frame = _frame(image) if done else None  # Time-stamped now, before waiting for the lock.
            with self._changed:
                if frame is None or self._finished:
                    return
                self._newest = frame
                self._changed.notify_all()


def open_rtsp(uri: str, *, open_timeout_s: float, read_timeout_s: float) -> LiveSource:
    """Return a network camera; its name leaves out user and password.

    Raises ConfigError if `uri` is not an RTSP address.
    """
    name = strip_credentials(uri)
    options = (
        cv2.CAP_PROP_N_THREADS,
        1,  # Each further decoding thread delays by one frame.
        cv2.CAP_PROP_OPEN_TIMEOUT_MSEC,
        round(1000 * open_timeout_s),
        cv2.CAP_PROP_READ_TIMEOUT_MSEC,
        round(1000 * max(open_timeout_s, read_timeout_s)),  # `read` times out before; this ends the thread.
    )

    def open_capture() -> VideoCapture:
        return _open_stream(uri, options)

    return LiveSource(name, open_capture, open_timeout_s=open_timeout_s, read_timeout_s=read_timeout_s)


def strip_credentials(uri: str) -> str:
    """Return an RTSP address without user, password and query; "..." for the path if it may hold some.

    Raises ConfigError if it is not an RTSP address, or if a password in it has to be percent-encoded.
    """
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port, parts = None, None, urlsplit("")
    if _CUT_PASSWORD.match(uri):  # The address ends before its "@", within the password.
        raise ConfigError(
            "source.uri: a password with / ? or # has to be percent-encoded, as %2F, %3F or %23, "
            "for example rtsp://user:pass%2Fword@host:554/path"
        )
    if not host or parts.scheme not in ("rtsp", "rtsps"):
        raise ConfigError("source.uri is not an RTSP address; write rtsp://host:554/path")
    host = f"[{host}]" if ":" in host else host
    path = parts.path if "@" not in parts.path + parts.query + parts.fragment else "/..."
    return f"{parts.scheme}://{host}{f':{port}' if port else ''}{path}"


# user:pass, cut by / ? or # before its "@"; what follows the "@" is a host. Digits may be a port, so then
# the host has to be an address or a name with dots.
_HOST = r"(\d+\.\d+\.\d+\.\d+|[\w-]+(\.[\w-]+)+|\[[0-9a-fA-F:]+\])(:\d+)?([/?#]|$)"
_CUT_PASSWORD = re.compile(
    rf"rtsps?://(?!\[)[^/?#@]*:([^/?#@]*[^\d/?#@][^/?#@]*[/?#].*@|\d*[/#].*@{_HOST})", re.IGNORECASE
)


def _open_stream(uri: str, options: Sequence[int]) -> VideoCapture:
    with _ffmpeg_options(_RTSP_OPTIONS):
        return cv2.VideoCapture(uri, cv2.CAP_FFMPEG, options)


@contextmanager
def _ffmpeg_options(options: str) -> Iterator[None]:
    """Set the options that OpenCV reads from the environment at each open; not for video files."""
    if _OPTIONS_VARIABLE in os.environ:  # The installer's own choice.
        yield
        return
    os.environ[_OPTIONS_VARIABLE] = options
    try:
        yield
    finally:
        os.environ.pop(_OPTIONS_VARIABLE, None)  # A reader left behind may have removed it already.


def _frame(image: Any) -> Frame:
    return Frame(
        np.asarray(image, np.uint8), captured_ns=time.monotonic_ns(), captured_ms=time.time_ns() // 1_000_000
    )
