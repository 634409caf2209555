"""Known parts at a running line: images of good and defective ones, triggered over MQTT with part ids."""

import json
from pathlib import Path
from typing import Any

import cv2

from linewatch.acquisition.sources.simulator.source import DEFECTS, render
from tests.mosquitto import Subscriber

SETTINGS: dict[str, object] = {"trigger.mode": "mqtt", "source.kind": "folder", "source.loop": True}
PAIRS = 12


def photograph(folder: Path) -> Path:
    """Write images of good and defective parts in turn, as the line will take them; return their folder."""
    folder.mkdir()
    for number in range(PAIRS):
        kind = sorted(DEFECTS)[number % len(DEFECTS)]
        cv2.imwrite(str(folder / f"{2 * number:02}.png"), render(21, number))
        cv2.imwrite(str(folder / f"{2 * number + 1:02}.png"), render(21, number, kind))
    return folder


class Hand:
    """Presents parts at a line whose source is `photograph`: each trigger takes its next image."""

    def __init__(self, ear: Subscriber) -> None:
        self._ear = ear
        self.triggers = 0
        self._heard = len(ear.on("t/verdict"))  # Of a line before this one.

    def present(self, part: str) -> dict[str, Any]:
        """Present a part whose name begins with G or D, and return its verdict."""
        if (self.triggers % 2 == 0) != part.startswith("G"):
            self.trigger("stranger")
        return self.trigger(part)

    def trigger(self, part: str) -> dict[str, Any]:
        """Send one trigger and wait for its verdict."""
        self.triggers += 1
        wanted = self._heard + self.triggers
        self._ear.say("t/cmd/trigger", json.dumps({"rid": self.triggers, "part": part}))
        self._ear.wait(lambda ear: len(ear.on("t/verdict")) >= wanted, f"the verdict on {part}")
        verdict: dict[str, Any] = json.loads(self._ear.on("t/verdict")[wanted - 1])
        return verdict
