"""A camera that does what a file says, in a real daemon: the fake at the seam of the sources.

Its moods: good, frozen, black, gone (every read and opening fails), hung (a call does not return).
"""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from linewatch import daemon as pipeline
from linewatch.acquisition.sources.simulator.source import Simulator
from linewatch.cli import main as cli
from linewatch.domain import Frame
from linewatch.errors import CameraLost

MOOD = "MOODY_CAMERA"
PERIOD_S = 0.04
PROGRAM = "from tests.moody_camera import main; main()"


class MoodyCamera:
    """Shows simulated good parts, 25 a second, as its mood allows."""

    name = "moody"
    live = True

    def __init__(self, mood: Path) -> None:
        self._mood = mood
        self._parts = Simulator("defects=0")
        self._last: Frame | None = None

    def __enter__(self) -> Self:
        self._parts.__enter__()
        self._bear("opened")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._parts.__exit__(kind, error, trace)

    def read(self) -> Frame | None:
        """Expose the next part, the same one again, or none at all."""
        time.sleep(PERIOD_S)
        mood = self._bear("read")
        shown = self._parts.read()
        assert shown is not None and shown.image is not None
        if mood == "frozen" and self._last is not None:
            return replace(shown, image=self._last.image)
        self._last = shown
        return replace(shown, image=shown.image // 50) if mood == "black" else shown

    def _bear(self, call: str) -> str:
        while (mood := self._mood.read_text()) == "hung":
            time.sleep(PERIOD_S)
        if mood == "gone":
            raise CameraLost(self.name, f"cannot be {call}")
        return mood


class Mood:
    """Where the test says what the camera does."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "mood"
        self._new = folder / "mood.new"
        self.be("good")

    @property
    def environment(self) -> dict[str, str]:
        """What the daemon needs to know."""
        return {MOOD: str(self._path)}

    def be(self, mood: str) -> None:
        """Change at once."""
        self._new.write_text(mood)
        self._new.replace(self._path)


def main() -> None:
    """Run linewatch's command line with this camera, whatever the settings name."""
    mood = Path(os.environ[MOOD])
    setattr(pipeline, "open_source", lambda *_: MoodyCamera(mood))  # noqa: B010 - the seam, which is no export
    sys.argv[0] = "linewatch"
    cli.main()
