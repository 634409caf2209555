import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import cv2
import numpy as np
import pytest

from linewatch.acquisition.belt_background import FRAMES
from linewatch.acquisition.part_trigger import PartTriggered, empty_belt, shrink
from linewatch.acquisition.sources.simulator.source import render
from linewatch.acquisition.trigger_mode import trigger_mode
from linewatch.acquisition.triggers import TriggerMode, TriggerRequest
from linewatch.domain import Frame, Image, State
from linewatch.errors import ConfigError
from linewatch.line.capture import Capture
from linewatch.line.metrics import Metrics
from linewatch.line.station import Station
from linewatch.runtime.lane import Lane
from linewatch.runtime.stages import Stage
from linewatch.settings import Settings, TriggerSettings
from tests.belts import film, filmed, simulated
from tests.daemon import Daemon
from tests.fakes import ScriptedSource, frame
from tests.mosquitto import Mosquitto


@pytest.mark.parametrize("uri", ["belt=12&count=60&size=96&seed=1", "belt=40&count=60&size=96&seed=2"])
def test_every_part_on_a_busy_belt_is_exposed_exactly_once(uri: str) -> None:
    """At any speed, with stops, small gaps and touching neighbours; and nothing else is exposed."""
    outcome = simulated(uri)

    assert len(outcome.passed) >= 60
    assert (outcome.once, outcome.empty) == (len(outcome.passed), 0)
    assert set(outcome.found) == outcome.passed


def test_a_part_is_exposed_in_the_middle_of_the_image() -> None:
    """The offset from the middle is at most the motion of one frame."""
    outcome = simulated("belt=12&count=40&size=96&seed=3&touching=0")

    assert np.quantile(outcome.off, 0.9) < 12 * 1.8 / 320


def test_parts_in_a_video_are_exposed_exactly_once(tmp_path: Path) -> None:
    """Compressed images of parts are separated from a grainy background."""
    truth = film(tmp_path / "belt.avi", [render(7, n, size=200) for n in range(1, 9)], 25, seed=1, speed=14)

    outcome = filmed(tmp_path / "belt.avi", truth)

    assert (len(outcome.passed), outcome.once, outcome.empty) == (25, 25, 0)


# --- on scripted frames: a grey belt, 320x100, and a bright part of 80x60


def belt(*lefts: float, level: int = 60, down: bool = False) -> Image:
    """Draw the belt with parts whose left edges are at these columns."""
    image = np.full((100, 320, 3), level, np.uint8)
    rng = np.random.default_rng(int(sum(lefts)) % 1000)
    for left in lefts:
        first, last = max(0, round(left)), min(320, round(left) + 80)
        if first < last:
            image[20:80, first:last] = 180
            image[40:60, max(first, round(left) + 10) : max(first, min(last, round(left) + 30))] = 120
    noisy = np.clip(image + rng.integers(-2, 3, image.shape), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(noisy.swapaxes(0, 1)) if down else noisy


class TriggeredCapture:
    """A capture stage with the part trigger on scripted images."""

    def __init__(self, *images: Image, axis: str = "x", empty: tuple[Image, ...] = ()) -> None:
        self.metrics = Metrics("test")
        self.station = Station("test", 1, "demo", self.metrics)
        self.station.intend(State.READY)
        self.shown = [frame(image=image) for image in images]
        self.trigger = PartTriggered(axis, 0, partial(self.station.set_impairment, "trigger"), empty)

    def exposed(self) -> list[int]:
        """Run the stage; return the indices of the images that were exposed."""
        frames = Lane[Frame]("frames", 1000)
        capture = Capture(
            lambda: ScriptedSource(self._script(), live=True),
            self.trigger, frames, self.station, self.metrics, threading.Event(), silent_s=60.0,
        )  # fmt: skip
        capture.run(Stage("capture", capture.run))
        times = [shown.captured_ns for shown in self.shown]
        return [times.index(exposed.captured_ns) for exposed in frames.items(lambda: None, 0.01)]

    def _script(self) -> Iterator[Frame]:
        yield from self.shown


def passing(speed: float, gap: float = 400.0, parts: int = 1) -> list[Image]:
    """Return the images of parts that enter on the left and leave on the right."""
    steps = int((400 + gap * parts) / speed)
    return [belt(*(-81 + speed * step - gap * part for part in range(parts))) for step in range(steps)]


EMPTY = [belt()] * FRAMES


def test_a_part_that_stops_is_exposed_once() -> None:
    """It may stop before, at or after the middle, for any time."""
    way = passing(10)
    for stop in (12, 19, 21, 26):
        capture = TriggeredCapture(*EMPTY, *way[:stop], *[way[stop]] * 40, *way[stop:])

        exposed = capture.exposed()

        assert len(exposed) == 1, stop
        image = capture.shown[exposed[0]].image
        assert image is not None
        columns = np.flatnonzero(image[50, :, 1] > 90)
        assert abs(columns.mean() - 160) < 20


def test_two_parts_close_together_are_exposed_separately() -> None:
    """Also with a gap of a few pixels, or none."""
    for gap in (100, 84, 80):
        capture = TriggeredCapture(*EMPTY, *passing(10), *passing(10, gap, 2))

        assert len(capture.exposed()) == 3, gap


def test_a_belt_that_runs_back_does_not_expose_a_part_twice() -> None:
    """An exposed part is tracked until it has left the image."""
    way = passing(10)

    assert len(TriggeredCapture(*EMPTY, *way[:26], *way[26:14:-1], *way[14:]).exposed()) == 1


def test_a_belt_may_run_up_or_down() -> None:
    """The axis is a setting; the direction is detected."""
    down = [np.ascontiguousarray(image.swapaxes(0, 1)) for image in [*EMPTY, *passing(10)]]
    up = [*down[:FRAMES], *down[:FRAMES:-1]]

    assert len(TriggeredCapture(*down, axis="y").exposed()) == 1
    assert len(TriggeredCapture(*up, axis="y").exposed()) == 1


def test_light_that_changes_slowly_exposes_nothing() -> None:
    """The background model follows an empty belt that gets brighter by half, and darker again."""
    levels = [*range(60, 90), *range(90, 60, -1)]

    assert (
        TriggeredCapture(*EMPTY, *(belt(level=level) for level in levels for _ in range(4))).exposed() == []
    )


def test_a_part_that_stands_there_at_start_is_not_learnt_as_belt() -> None:
    """Once it moves away the belt is learnt again, and the following parts are exposed."""
    way = passing(10)
    capture = TriggeredCapture(*[way[20]] * (FRAMES + 5), *way[20:], *EMPTY, *passing(10), *passing(10))

    exposed = capture.exposed()

    assert len(exposed) == 2
    assert min(exposed) > 2 * FRAMES


def test_until_the_belt_is_learnt_the_station_is_impaired() -> None:
    """With motion in every image no background can be learnt, and nothing is exposed."""
    capture = TriggeredCapture(*(belt(step % 300 - 60, step % 300 + 100) for step in range(0, 900, 30)))

    assert capture.exposed() == []
    assert "trigger.background" in capture.station.snapshot().impairments["trigger"]


def test_images_of_the_empty_belt_replace_learning(tmp_path: Path) -> None:
    """With them even the first part is exposed, also if parts pass at start."""
    cv2.imwrite(str(tmp_path / "empty.png"), belt())
    empty = empty_belt(TriggerSettings(mode="part", background=tmp_path))

    capture = TriggeredCapture(*passing(10), empty=tuple(empty))

    assert len(capture.exposed()) == 1
    assert "trigger" not in capture.station.snapshot().impairments


def test_images_of_the_belt_on_a_share_not_mounted_are_learnt_instead(tmp_path: Path) -> None:
    """The daemon starts without them and says so; a relative path is a mistake."""
    reasons: list[str] = []

    def mode(background: Path) -> TriggerMode:
        trigger = TriggerSettings(mode="part", background=background)
        return trigger_mode(Settings(trigger=trigger), Lane[TriggerRequest]("t", 1), None, reasons.append)

    assert isinstance(mode(tmp_path / "share"), PartTriggered)
    assert "trigger.background" in reasons[0] and "does not exist; name a folder with images" in reasons[0]
    with pytest.raises(ConfigError, match="does not exist"):
        mode(Path("nowhere"))


def test_unusable_images_of_the_belt_are_one_sentence(tmp_path: Path) -> None:
    """A missing folder, a file that is no image and images of two sizes raise ConfigError."""
    with pytest.raises(ConfigError, match=r"trigger\.background .* does not exist"):
        empty_belt(TriggerSettings(mode="part", background=tmp_path / "none"))
    cv2.imwrite(str(tmp_path / "a.png"), belt())
    cv2.imwrite(str(tmp_path / "b.png"), belt()[:50])
    with pytest.raises(ConfigError, match="differ in size"):
        empty_belt(TriggerSettings(mode="part", background=tmp_path))
    (tmp_path / "a.png").write_bytes(b"no image")
    with pytest.raises(ConfigError, match=r"trigger\.background: image"):
        empty_belt(TriggerSettings(mode="part", background=tmp_path))


def test_images_of_the_belt_in_another_shape_are_an_impairment() -> None:
    """Nothing is exposed and the station says why; the shape that fits is used as soon as it comes."""
    wide = [np.ascontiguousarray(image[:50]) for image in passing(10)]

    rig = TriggeredCapture(*wide, empty=(belt(),))
    assert rig.exposed() == []
    assert "another shape" in rig.station.snapshot().impairments["trigger"]

    rig = TriggeredCapture(*wide, *passing(10), empty=(belt(),))
    assert len(rig.exposed()) == 1
    assert "trigger" not in rig.station.snapshot().impairments


def test_a_belt_is_learnt_again_when_the_frames_change_their_shape() -> None:
    """A camera that changes its resolution does not end the daemon."""
    wide = [np.ascontiguousarray(image[:50]) for image in [*EMPTY, *passing(10)]]
    for before in (EMPTY[:5], [*EMPTY, *passing(10)[:20]]):
        rig = TriggeredCapture(*before, *wide)

        exposed = rig.exposed()

        assert len(exposed) == 1
        assert exposed[0] > len(before) + FRAMES


@pytest.mark.parametrize("shape", [(1080, 1920, 3), (3648, 5472, 3), (96, 96, 3), (40, 2000, 3)])
def test_an_image_of_any_size_becomes_a_small_one(shape: tuple[int, int, int]) -> None:
    """The trigger's work does not grow with the camera's resolution."""
    for axis in ("x", "y"):
        small = shrink(np.zeros(shape, np.uint8), axis)

        assert small.shape[1] == 160
        assert 8 <= small.shape[0] <= 160


def test_a_daemon_gives_each_part_on_the_belt_one_verdict(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Frames between the parts get none, and the part is judged at full resolution."""
    changes = {
        "trigger.mode": "part",
        "source.uri": "belt=10&count=5&seed=1&touching=0&defects=0&size=320",
        "source.fps": 0,
        "evidence.pass_every": 1,
    }
    with Daemon(tmp_path, mosquitto.port, changes) as daemon:
        assert daemon.end() == 0
        rows = daemon.rows()

    assert [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    assert len(rows) in (5, 6)  # Part 6 may be in the image when part 5 leaves it.
    assert all(row["result"] != "ERROR" for row in rows)
    image = cv2.imread(str(daemon.evidence / rows[0]["image"]))
    assert image is not None and image.shape == (320, 320, 3)
