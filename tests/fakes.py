"""Stand-ins at the seams of the design: scripted, countable, and failing on demand."""

import time
from collections.abc import Callable, Iterator
from types import TracebackType
from typing import Self

import numpy as np

from linewatch.domain import Frame, Image, Verdict
from linewatch.errors import CameraLost, StorageFull


def picture(level: int = 100) -> Image:
    """Return a small grey picture."""
    return np.full((32, 32, 3), level, np.uint8)


def frame(level: int = 100, **facts: object) -> Frame:
    """Return a frame captured now."""
    shown = Frame(picture(level), time.monotonic_ns(), time.time_ns() // 1_000_000)
    return Frame(**{name: getattr(shown, name) for name in Frame.__slots__} | facts)


class ScriptedSource:
    """Gives what its script says: frames, "lost", or what a callable returns; then it ends."""

    name = "script"

    def __init__(self, script: Iterator[Frame | str | Callable[[], Frame]], *, live: bool = False) -> None:
        self.live = live
        self._script = script
        self.opened = 0

    def __enter__(self) -> Self:
        self.opened += 1
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def read(self) -> Frame | None:
        """Do the next thing of the script."""
        step = next(self._script, None)
        if isinstance(step, str):
            raise CameraLost("script", "unplugged")
        return step() if callable(step) else step


class FakeLedger:
    """A journal in memory; `full` makes it refuse."""

    def __init__(self) -> None:
        self.rows: dict[int, Verdict] = {}
        self.released = 0
        self.full = False
        self.on_append: Callable[[], None] = lambda: None

    def append(self, verdict: Verdict) -> None:
        """Keep one row."""
        self.on_append()
        if self.full:
            raise StorageFull("journal", "no room")
        assert verdict.seq not in self.rows
        self.rows[verdict.seq] = verdict

    def amend(self, verdict: Verdict) -> None:
        """Replace a row that was not released yet."""
        assert verdict.seq > self.released
        self.rows[verdict.seq] = verdict

    def release(self, boot: int, seq: int) -> None:
        """Let history have it."""
        self.released = seq


class FakeWire:
    """A live link in memory; `gone` loses what is sent, as the real one does."""

    def __init__(self) -> None:
        self.sent: list[Verdict] = []
        self.gone = False

    def publish_verdict(self, verdict: Verdict) -> bool:
        """Send or lose."""
        if not self.gone:
            self.sent.append(verdict)
        return not self.gone


class FakePictures:
    """An evidence folder in memory."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.full = False

    def names(self, verdict: Verdict) -> tuple[str, str]:
        """Keep everything."""
        return f"{verdict.seq}.png", f"{verdict.seq}.jpg"

    def write(self, name: str, image: Image) -> None:
        """Keep one picture."""
        if self.full:
            raise StorageFull("evidence", "no room")
        self.kept.append(name)
