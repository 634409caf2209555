"""Belts whose truth is known, and what a part trigger made of them."""

import threading
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import Self

import cv2
import numpy as np

from linewatch.acquisition.frame_reader import FrameReader
from linewatch.acquisition.part_trigger import PartTriggered
from linewatch.acquisition.sources import Source
from linewatch.acquisition.sources.opencv import VideoFile
from linewatch.acquisition.sources.simulator.source import Simulator
from linewatch.domain import Frame, Image
from linewatch.line.metrics import Metrics
from linewatch.line.station import Station
from linewatch.runtime.stages import Stage

Places = dict[int, float]
"""How far off the middle each part in sight is, as a share of the picture, by its number."""


@dataclass(slots=True)
class Outcome:
    """What was found; every part that passed the middle should be there once, and nothing else."""

    frames: int = 0
    passed: set[int] = field(default_factory=set)
    found: Counter[int] = field(default_factory=Counter)
    empty: int = 0  # Exposures in which no part was near the middle.
    off: list[float] = field(default_factory=list)  # How far off the middle, as a share of the picture.
    cpu_ms: float = 0.0  # Of the trigger's own work, for each frame.

    @property
    def once(self) -> int:
        """How many of the parts that passed were found exactly once."""
        return sum(self.found[part] == 1 for part in self.passed)

    def __str__(self) -> str:
        off = np.quantile(self.off or [1.0], (0.5, 0.99))
        return (
            f"{len(self.passed)} parts in {self.frames} frames: {self.once} found exactly once, "
            f"{sum(not self.found[part] for part in self.passed)} missed, "
            f"{sum(count > 1 for count in self.found.values())} found twice, {self.empty} empty; "
            f"off the middle {off[0]:.1%} (median), {off[1]:.1%} (99 %); {self.cpu_ms:.2f} ms CPU a frame"
        )


class Watched:
    """A source that remembers where the parts were in each frame."""

    def __init__(self, source: Source, places: Iterator[Places]) -> None:
        self.name = source.name
        self.live = source.live
        self.places: dict[int, Places] = {}  # By the frame's time of capture.
        self.sides: dict[int, float] = {}  # On which side of the middle each part was last.
        self.outcome = Outcome()
        self.learnt = False
        self._source = source
        self._places = places

    def __enter__(self) -> Self:
        self._source.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._source.__exit__(kind, error, trace)

    def read(self) -> Frame | None:
        """Return the next frame and take down its truth."""
        frame = self._source.read()
        if frame is None:
            return None
        self.outcome.frames += 1
        places = next(self._places)
        self.places[frame.captured_ns] = places
        self.outcome.passed |= {
            part for part, place in places.items() if self.sides.get(part, 0) < 0 <= place
        }
        self.sides |= places
        return frame


def watch(source: Source, places: Iterator[Places], empty: Sequence[Image] = ()) -> Outcome:
    """Let a part trigger watch a source to its end."""
    station = Station("test", 1, "demo", Metrics("test"))
    trigger = PartTriggered("x", 0, partial(station.set_impairment, "trigger"), empty)
    stage = Stage("capture", lambda _: None)
    watched = Watched(source, places)
    outcome = watched.outcome
    started = time.thread_time()  # The source has a thread of its own.
    with FrameReader(watched, stage, on_alive=lambda: None, on_lost=lambda _: None, silent_s=60.0) as reader:
        for frame in trigger.frames(reader, stage, threading.Event()):
            near = watched.places[frame.captured_ns]
            part = min(near, key=lambda number: abs(near[number]), default=0)
            if not part or abs(near[part]) > 0.25:
                outcome.empty += 1
            else:
                outcome.found[part] += 1
                outcome.off.append(abs(near[part]))
    outcome.cpu_ms = 1000 * (time.thread_time() - started) / max(1, outcome.frames)
    return outcome


def simulated(uri: str) -> Outcome:
    """Let a part trigger watch the simulator's belt."""
    simulator = Simulator(uri)

    def places() -> Iterator[Places]:
        while True:
            assert simulator.belt is not None
            in_view = simulator.belt.in_view()
            yield {part: place / simulator.options.size for part, place in in_view.items()}

    return watch(simulator, places())


def film(path: Path, pictures: Sequence[Image], parts: int, *, seed: int, speed: float) -> list[Places]:
    """Record pictures of parts that move over a background, from left to right; return the truth.

    Each picture is a part 200 pixels long in a video of 480x270. The belt moves about `speed` pixels a
    frame, stops now and then, and the gaps between the parts are random.
    """
    rng = np.random.default_rng(seed)
    width, height, side = 480, 270, 200
    tiles = [cv2.resize(picture, (side, side), interpolation=cv2.INTER_AREA) for picture in pictures]
    border = np.median(np.concatenate([tile[0] for tile in tiles]), axis=0)
    grain = rng.normal(0, 4, (height, width, 1))
    background = np.clip(border + cv2.GaussianBlur(grain, (0, 0), 2)[..., None], 0, 255).astype(np.uint8)
    mask = cv2.GaussianBlur(np.pad(np.ones((side - 12, side - 12), np.float32), 6), (0, 0), 2)[..., None]
    middles = -side / 2 - 30 * speed - np.cumsum(rng.uniform(1.05, 3.0, parts) * side)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (width, height))
    assert writer.isOpened()
    truth: list[Places] = []
    travelled, now, wanted = 0.0, speed, speed
    while middles[-1] + travelled < width + side:
        if rng.random() < 0.03:
            wanted = 0.0 if rng.random() < 0.2 else speed * rng.uniform(0.4, 1.8)
        now += 0.2 * (wanted - now)
        travelled += now
        picture = background.copy()
        places: Places = {}
        for number, middle in enumerate(middles + travelled, 1):
            left = round(middle - side / 2)
            first, last = max(0, left), min(width, left + side)
            if first < last:
                area = picture[35 : 35 + side, first:last]
                tile, soft = tiles[number % len(tiles)], mask[:, first - left : last - left]
                area[:] = (soft * tile[:, first - left : last - left] + (1 - soft) * area).astype(np.uint8)
                places[number] = float(middle - width / 2) / width
        noise = rng.integers(-3, 4, picture.shape, np.int16)
        writer.write(np.clip(picture + noise, 0, 255).astype(np.uint8))
        truth.append(places)
    writer.release()
    return truth


def filmed(path: Path, truth: list[Places]) -> Outcome:
    """Let a part trigger watch a video."""
    return watch(VideoFile(path), iter(truth))
