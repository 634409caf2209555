"""Belts with ground truth, and what a part trigger exposes of them."""

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

Offsets = dict[int, float]
"""Part number -> offset from the middle, as a share of the image's width, for each visible part."""


@dataclass(slots=True)
class Outcome:
    """What was exposed; every part that passed the middle should be there once, and nothing else."""

    frames: int = 0
    passed: set[int] = field(default_factory=set)
    found: Counter[int] = field(default_factory=Counter)
    empty: int = 0  # Exposures in which no part was near the middle.
    off: list[float] = field(default_factory=list)  # Offsets from the middle, as shares of the image's width.
    cpu_ms: float = 0.0  # Of the trigger, per frame.

    @property
    def once(self) -> int:
        """Number of parts that passed and were exposed exactly once."""
        return sum(self.found[part] == 1 for part in self.passed)

    def __str__(self) -> str:
        off = np.quantile(self.off or [1.0], (0.5, 0.99))
        return (
            f"{len(self.passed)} parts in {self.frames} frames: {self.once} found exactly once, "
            f"{sum(not self.found[part] for part in self.passed)} missed, "
            f"{sum(count > 1 for count in self.found.values())} found twice, {self.empty} empty; "
            f"off the middle {off[0]:.1%} (median), {off[1]:.1%} (99 %); {self.cpu_ms:.2f} ms CPU a frame"
        )


class RecordedSource:
    """A source that records the ground truth of each frame."""

    def __init__(self, source: Source, truth: Iterator[Offsets]) -> None:
        self.name = source.name
        self.live = source.live
        self.offsets: dict[int, Offsets] = {}  # By the frame's time of capture.
        self.last: dict[int, float] = {}  # The last offset of each part.
        self.outcome = Outcome()
        self._source = source
        self._truth = truth

    def __enter__(self) -> Self:
        self._source.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._source.__exit__(kind, error, trace)

    def read(self) -> Frame | None:
        """Return the next frame and record its ground truth."""
        frame = self._source.read()
        if frame is None:
            return None
        self.outcome.frames += 1
        offsets = next(self._truth)
        self.offsets[frame.captured_ns] = offsets
        self.outcome.passed |= {
            part for part, offset in offsets.items() if self.last.get(part, 0) < 0 <= offset
        }
        self.last |= offsets
        return frame


def run_trigger(source: Source, truth: Iterator[Offsets], empty: Sequence[Image] = ()) -> Outcome:
    """Run a part trigger on a source to its end."""
    station = Station("test", 1, "demo", Metrics("test"))
    trigger = PartTriggered("x", 0, partial(station.set_impairment, "trigger"), empty)
    stage = Stage("capture", lambda _: None)
    recorded = RecordedSource(source, truth)
    outcome = recorded.outcome
    started = time.thread_time()  # This thread only: the source has its own.
    with FrameReader(recorded, stage, on_alive=lambda: None, on_lost=lambda _: None, silent_s=60.0) as reader:
        for frame in trigger.frames(reader, stage, threading.Event()):
            near = recorded.offsets[frame.captured_ns]
            part = min(near, key=lambda number: abs(near[number]), default=0)
            if not part or abs(near[part]) > 0.25:
                outcome.empty += 1
            else:
                outcome.found[part] += 1
                outcome.off.append(abs(near[part]))
    outcome.cpu_ms = 1000 * (time.thread_time() - started) / max(1, outcome.frames)
    return outcome


def simulated(uri: str) -> Outcome:
    """Run a part trigger on the simulator's belt."""
    simulator = Simulator(uri)

    def truth() -> Iterator[Offsets]:
        while True:
            assert simulator.belt is not None
            in_view = simulator.belt.in_view()
            yield {part: pixels / simulator.options.size for part, pixels in in_view.items()}

    return run_trigger(simulator, truth())


def film(path: Path, images: Sequence[Image], parts: int, *, seed: int, speed: float) -> list[Offsets]:
    """Record images of parts that move over a background, from left to right; return the ground truth.

    Each image is a part 200 pixels long in a video of 480x270. The belt moves about `speed` pixels a
    frame, stops now and then, and the gaps between the parts are random.
    """
    rng = np.random.default_rng(seed)
    width, height, side = 480, 270, 200
    tiles = [cv2.resize(image, (side, side), interpolation=cv2.INTER_AREA) for image in images]
    border = np.median(np.concatenate([tile[0] for tile in tiles]), axis=0)
    grain = rng.normal(0, 4, (height, width, 1))
    background = np.clip(border + cv2.GaussianBlur(grain, (0, 0), 2)[..., None], 0, 255).astype(np.uint8)
    mask = cv2.GaussianBlur(np.pad(np.ones((side - 12, side - 12), np.float32), 6), (0, 0), 2)[..., None]
    middles = -side / 2 - 30 * speed - np.cumsum(rng.uniform(1.05, 3.0, parts) * side)
    writer = cv2.VideoWriter(str(path), cv2.VideoWriter.fourcc(*"MJPG"), 25, (width, height))
    assert writer.isOpened()
    truth: list[Offsets] = []
    travelled, now, wanted = 0.0, speed, speed
    while middles[-1] + travelled < width + side:
        if rng.random() < 0.03:
            wanted = 0.0 if rng.random() < 0.2 else speed * rng.uniform(0.4, 1.8)
        now += 0.2 * (wanted - now)
        travelled += now
        image = background.copy()
        offsets: Offsets = {}
        for number, middle in enumerate(middles + travelled, 1):
            left = round(middle - side / 2)
            first, last = max(0, left), min(width, left + side)
            if first < last:
                area = image[35 : 35 + side, first:last]
                tile, soft = tiles[number % len(tiles)], mask[:, first - left : last - left]
                area[:] = (soft * tile[:, first - left : last - left] + (1 - soft) * area).astype(np.uint8)
                offsets[number] = float(middle - width / 2) / width
        noise = rng.integers(-3, 4, image.shape, np.int16)
        writer.write(np.clip(image + noise, 0, 255).astype(np.uint8))
        truth.append(offsets)
    writer.release()
    return truth


def filmed(path: Path, truth: list[Offsets]) -> Outcome:
    """Run a part trigger on a video."""
    return run_trigger(VideoFile(path), iter(truth))
