"""Where frames come from: one module per kind, all with one protocol."""

from types import TracebackType
from typing import Protocol, Self

from linewatch.domain import Frame


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

        Raises CameraLost when the device stays silent longer than its read time-out.
        A picture that cannot be decoded is a Frame with fault BAD_PICTURE, never an exception.
        """
