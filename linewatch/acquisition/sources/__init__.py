"""Sources of frames: one module per kind, one protocol for all."""

import re
from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from linewatch.acquisition.sources.folder import FolderSource
from linewatch.acquisition.sources.gige import AwaitingTrigger, GigeCamera
from linewatch.acquisition.sources.opencv import VideoFile, open_rtsp
from linewatch.acquisition.sources.simulator.source import Simulator
from linewatch.acquisition.sources.usb_camera import UsbCamera
from linewatch.domain import Frame
from linewatch.errors import ConfigError
from linewatch.settings import GigeSettings, SourceSettings

__all__ = ["AwaitingTrigger", "Source", "open_source"]

_HOW_TO_SET = {
    "folder": "name a folder with images",
    "video": "name a video file",
    "camera": "write its index, such as 0, or its path, as linewatch cameras lists it",
    "rtsp": "write rtsp://host:554/path",
    "gige": "write the camera's id or address; linewatch cameras lists those that answer",
}


class Source(Protocol):
    """A source of frames; entering opens it, one thread reads it.

    It neither paces itself nor numbers its frames: capture does both.
    """

    name: str  # For messages, for example "rtsp://10.0.0.5/line1".
    live: bool  # True for a camera, which goes on while nothing reads it; False for a recording.

    def __enter__(self) -> Self:
        """Open it. Raises CameraLost if another attempt may succeed, ConfigError if none can."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""

    def read(self) -> Frame | None:
        """Wait for the next frame; None at the end of a recording.

        Raises CameraLost after the read time-out, and AwaitingTrigger repeatedly while a camera waits for
        its hardware trigger. An image that cannot be decoded is a Frame with fault BAD_PICTURE, never an
        exception.
        """


def open_source(settings: SourceSettings, gige: GigeSettings | None = None) -> Source:
    """Return the source that the settings describe, not entered yet. Raises ConfigError.

    `gige` configures a GigE Vision camera; by default it keeps its own configuration.
    """
    timeouts = {"open_timeout_s": settings.open_timeout_s, "read_timeout_s": settings.read_timeout_s}
    if not settings.uri and settings.kind in _HOW_TO_SET:
        raise ConfigError(f"source.uri is empty; {_HOW_TO_SET[settings.kind]}")
    if settings.kind != "rtsp" and re.match(r"\w+://", settings.uri):  # Not repeated: it may hold a password.
        raise ConfigError(
            f'source.uri is a network address, which source.kind "{settings.kind}" does not take; '
            'write source.kind = "rtsp" for a network camera'
        )
    match settings.kind:
        case "simulator":
            return Simulator(settings.uri)
        case "folder":
            return FolderSource(Path(settings.uri), loop=settings.loop)
        case "video":
            return VideoFile(Path(settings.uri), loop=settings.loop)
        case "camera":
            return UsbCamera(settings)
        case "rtsp":
            return open_rtsp(settings.uri, **timeouts)
        case "gige":
            return GigeCamera(
                settings.uri,
                gige or GigeSettings(),
                read_timeout_s=settings.read_timeout_s,
                size=(settings.width, settings.height) if settings.width else None,
            )
