"""A camera with faults that a test switches on and off in a running daemon, through a file.

The faults: "" (none), "frozen", "black", "gone" (reading and opening fail), "hung" (calls do not return).
"""

import os
import sys
import time
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Self

from linewatch import daemon
from linewatch.acquisition.sources.simulator.source import Simulator
from linewatch.cli import main as cli
from linewatch.domain import Frame
from linewatch.errors import CameraLost

VARIABLE = "FAULTY_CAMERA"
PERIOD_S = 0.04
PROGRAM = "from tests.faulty_camera import main; main()"


class FaultyCamera:
    """Delivers simulated good parts, 25 per second, with the current fault."""

    name = "faulty"
    live = True

    def __init__(self, file: Path) -> None:
        self._file = file
        self._parts = Simulator("defects=0")
        self._last: Frame | None = None

    def __enter__(self) -> Self:
        self._parts.__enter__()
        self._apply_fault("opened")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._parts.__exit__(kind, error, trace)

    def read(self) -> Frame | None:
        """Return the next part, or what the fault makes of it."""
        time.sleep(PERIOD_S)
        fault = self._apply_fault("read")
        shown = self._parts.read()
        assert shown is not None and shown.image is not None
        if fault == "frozen" and self._last is not None:
            return replace(shown, image=self._last.image)
        self._last = shown
        return replace(shown, image=shown.image // 50) if fault == "black" else shown

    def _apply_fault(self, call: str) -> str:
        while (fault := self._file.read_text()) == "hung":
            time.sleep(PERIOD_S)
        if fault == "gone":
            raise CameraLost(self.name, f"cannot be {call}")
        return fault


class CameraFault:
    """Switches the fault of a FaultyCamera; at first there is none."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "fault"
        self._new = folder / "fault.new"
        self.clear()

    @property
    def environment(self) -> dict[str, str]:
        """Return the daemon's environment, in which the camera finds the file."""
        return {VARIABLE: str(self._path)}

    def set(self, fault: str) -> None:
        """Switch a fault on."""
        self._new.write_text(fault)
        self._new.replace(self._path)

    def clear(self) -> None:
        """Switch the fault off."""
        self.set("")


def main() -> None:
    """Run linewatch's command line with this camera, whatever the settings name."""
    file = Path(os.environ[VARIABLE])
    setattr(daemon, "open_source", lambda *_: FaultyCamera(file))  # noqa: B010 - not exported
    sys.argv[0] = "linewatch"
    cli.main()
