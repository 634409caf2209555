"""Where frames come from: one module per kind, all with one protocol."""

from pathlib import Path
from types import TracebackType
from typing import Protocol, Self

from linewatch.acquisition.sources.folder import FolderSource
from linewatch.acquisition.sources.gige import AwaitingTrigger, GigeCamera
from linewatch.acquisition.sources.opencv import VideoFile, open_camera, open_rtsp
from linewatch.acquisition.sources.simulator.source import Simulator
from linewatch.domain import Frame
from linewatch.errors import ConfigError
from linewatch.settings import GigeSettings, SourceSettings

__all__ = ["AwaitingTrigger", "Source", "open_source"]

_MEANING = {
    "folder": "name a folder with pictures",
    "video": "name a video file",
    "camera": "write its index, such as 0, or its path, such as /dev/video0",
    "rtsp": "write rtsp://host:554/path",
    "gige": "write the camera's id or address; linewatch cameras lists those that answer",
}


class Source(Protocol):
    """A place frames come from; entering opens it, one thread reads it.

    A source does not pace itself and does not number its frames: capture does both.
    """

    name: str  # What to call it in messages, for example "rtsp://10.0.0.5/line1".
    live: bool  # True when the world goes on without us (a camera); False for a recording.

    def __enter__(self) -> Self:
        """Open it. Raises CameraLost (live: worth another try) or ConfigError (it never works)."""

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Let go of the device."""

    def read(self) -> Frame | None:
        """Wait for the next frame; None at the end of a recording.

        Raises CameraLost when the device stays silent longer than its read time-out; and AwaitingTrigger,
        from time to time, while a camera with a trigger of its own has had no reason to expose.
        A picture that cannot be decoded is a Frame with fault BAD_PICTURE, never an exception.
        """


def open_source(settings: SourceSettings, gige: GigeSettings | None = None) -> Source:
    """Return the source that the settings ask for, not entered yet. Raises ConfigError.

    `gige` is what a GigE Vision camera is told, nothing by default.
    """
    timeouts = {"open_timeout_s": settings.open_timeout_s, "read_timeout_s": settings.read_timeout_s}
    if not settings.uri and settings.kind in _MEANING:
        raise ConfigError(f"source.uri is empty; {_MEANING[settings.kind]}")
    match settings.kind:
        case "simulator":
            return Simulator(settings.uri)
        case "folder":
            return FolderSource(Path(settings.uri), loop=settings.loop)
        case "video":
            return VideoFile(Path(settings.uri), loop=settings.loop)
        case "camera":
            return open_camera(settings.uri, **timeouts)
        case "rtsp":
            return open_rtsp(settings.uri, **timeouts)
        case "gige":
            return GigeCamera(settings.uri, gige or GigeSettings(), read_timeout_s=settings.read_timeout_s)
