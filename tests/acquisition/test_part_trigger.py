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
from linewatch.domain import Frame, Image, State
from linewatch.errors import ConfigError
from linewatch.line.capture import Capture
from linewatch.line.metrics import Metrics
from linewatch.line.station import Station
from linewatch.runtime.lane import Lane
from linewatch.runtime.stages import Stage
from linewatch.settings import TriggerSettings
from tests.belts import film, filmed, simulated
from tests.daemon import Daemon
from tests.fakes import ScriptedSource, frame
from tests.mosquitto import Mosquitto


@pytest.mark.parametrize("uri", ["belt=12&count=60&size=96&seed=1", "belt=40&count=60&size=96&seed=2"])
def test_every_part_on_a_busy_belt_is_exposed_exactly_once(uri: str) -> None:
    """At any speed, with stops, close gaps and neighbours that touch; and nothing else is exposed."""
    outcome = simulated(uri)

    assert len(outcome.passed) >= 60
    assert (outcome.once, outcome.empty) == (len(outcome.passed), 0)
    assert set(outcome.found) == outcome.passed


def test_a_part_is_exposed_where_it_is_seen_best() -> None:
    """The middle of the part is in the middle of the picture, but for what it moves in one frame."""
    outcome = simulated("belt=12&count=40&size=96&seed=3&touching=0")

    assert np.quantile(outcome.off, 0.9) < 12 * 1.8 / 320


def test_parts_in_a_video_are_exposed_exactly_once(tmp_path: Path) -> None:
    """Pictures that were compressed and move over a grainy background are told from it."""
    truth = film(tmp_path / "belt.avi", [render(7, n, size=200) for n in range(1, 9)], 25, seed=1, speed=14)

    outcome = filmed(tmp_path / "belt.avi", truth)

    assert (len(outcome.passed), outcome.once, outcome.empty) == (25, 25, 0)


# --- on scripted frames: a grey belt, 320x100, and a bright part of 80x60


def belt(*lefts: float, level: int = 60, down: bool = False) -> Image:
    """Draw the belt with parts that begin at these columns."""
    picture = np.full((100, 320, 3), level, np.uint8)
    rng = np.random.default_rng(int(sum(lefts)) % 1000)
    for left in lefts:
        first, last = max(0, round(left)), min(320, round(left) + 80)
        if first < last:
            picture[20:80, first:last] = 180
            picture[40:60, max(first, round(left) + 10) : max(first, min(last, round(left) + 30))] = 120
    noisy = np.clip(picture + rng.integers(-2, 3, picture.shape), 0, 255).astype(np.uint8)
    return np.ascontiguousarray(noisy.swapaxes(0, 1)) if down else noisy


class Rig:
    """A capture stage with the part trigger over scripted pictures."""

    def __init__(self, *pictures: Image, axis: str = "x", empty: tuple[Image, ...] = ()) -> None:
        self.metrics = Metrics("test")
        self.station = Station("test", 1, "demo", self.metrics)
        self.station.intend(State.READY)
        self.shown = [frame(image=picture) for picture in pictures]
        self.trigger = PartTriggered(axis, 0, partial(self.station.set_impairment, "trigger"), empty)

    def exposed(self) -> list[int]:
        """Return which pictures were exposures, by their place in the script."""
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
    """Let parts come in from the left and leave on the right."""
    steps = int((400 + gap * parts) / speed)
    return [belt(*(-81 + speed * step - gap * part for part in range(parts))) for step in range(steps)]


EMPTY = [belt()] * FRAMES


def test_a_part_that_stops_is_one() -> None:
    """Whether it stops before, at or behind the middle, and however long."""
    way = passing(10)
    for stop in (12, 19, 21, 26):
        rig = Rig(*EMPTY, *way[:stop], *[way[stop]] * 40, *way[stop:])

        exposed = rig.exposed()

        assert len(exposed) == 1, stop
        image = rig.shown[exposed[0]].image
        assert image is not None
        columns = np.flatnonzero(image[50, :, 1] > 90)
        assert abs(columns.mean() - 160) < 20


def test_two_parts_close_together_are_two() -> None:
    """A gap of a few pixels, or none at all, does not make one part of two."""
    for gap in (100, 84, 80):
        rig = Rig(*EMPTY, *passing(10), *passing(10, gap, 2))

        assert len(rig.exposed()) == 3, gap


def test_a_belt_that_runs_back_does_not_show_a_part_twice() -> None:
    """What was exposed is known as long as it is in the picture."""
    way = passing(10)

    assert len(Rig(*EMPTY, *way[:26], *way[26:14:-1], *way[14:]).exposed()) == 1


def test_a_belt_may_run_up_or_down() -> None:
    """The axis is a setting; the direction is seen."""
    down = [np.ascontiguousarray(picture.swapaxes(0, 1)) for picture in [*EMPTY, *passing(10)]]
    up = [*down[:FRAMES], *down[:FRAMES:-1]]

    assert len(Rig(*down, axis="y").exposed()) == 1
    assert len(Rig(*up, axis="y").exposed()) == 1


def test_light_that_changes_slowly_is_no_part() -> None:
    """An empty belt that gets lighter by half, and darker again, gives nothing to judge."""
    levels = [*range(60, 90), *range(90, 60, -1)]

    assert Rig(*EMPTY, *(belt(level=level) for level in levels for _ in range(4))).exposed() == []


def test_a_part_that_stood_there_at_start_is_not_taken_for_the_belt() -> None:
    """Once it moves away the belt is learnt again, and the parts that follow are found."""
    way = passing(10)
    rig = Rig(*[way[20]] * (FRAMES + 5), *way[20:], *EMPTY, *passing(10), *passing(10))

    exposed = rig.exposed()

    assert len(exposed) == 2
    assert min(exposed) > 2 * FRAMES


def test_until_the_belt_is_known_the_station_says_so() -> None:
    """Pictures in which something moves all the time teach nothing; nothing is exposed."""
    rig = Rig(*(belt(step % 300 - 60, step % 300 + 100) for step in range(0, 900, 30)))

    assert rig.exposed() == []
    assert "trigger.background" in rig.station.snapshot().impairments["trigger"]


def test_pictures_of_the_empty_belt_save_the_learning(tmp_path: Path) -> None:
    """With them the first part that comes is found, also when parts pass at start."""
    cv2.imwrite(str(tmp_path / "empty.png"), belt())
    empty = empty_belt(TriggerSettings(mode="part", background=tmp_path))

    rig = Rig(*passing(10), empty=tuple(empty))

    assert len(rig.exposed()) == 1
    assert "trigger" not in rig.station.snapshot().impairments


def test_pictures_of_the_belt_that_cannot_be_used_are_said_in_a_sentence(tmp_path: Path) -> None:
    """A missing folder, a file that is no picture and pictures of two cameras are settings to mend."""
    with pytest.raises(ConfigError, match=r"trigger\.background .* does not exist"):
        empty_belt(TriggerSettings(mode="part", background=tmp_path / "none"))
    cv2.imwrite(str(tmp_path / "a.png"), belt())
    cv2.imwrite(str(tmp_path / "b.png"), belt()[:50])
    with pytest.raises(ConfigError, match="differ in size"):
        empty_belt(TriggerSettings(mode="part", background=tmp_path))
    (tmp_path / "a.png").write_bytes(b"no picture")
    with pytest.raises(ConfigError, match=r"trigger\.background: image"):
        empty_belt(TriggerSettings(mode="part", background=tmp_path))


@pytest.mark.parametrize("shape", [(1080, 1920, 3), (3648, 5472, 3), (96, 96, 3), (40, 2000, 3)])
def test_any_picture_becomes_a_small_one(shape: tuple[int, int, int]) -> None:
    """The trigger's work does not grow with the camera."""
    for axis in ("x", "y"):
        small = shrink(np.zeros(shape, np.uint8), axis)

        assert small.shape[1] == 160
        assert 8 <= small.shape[0] <= 160


def test_a_daemon_gives_each_part_on_the_belt_one_verdict(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Frames between the parts get none, and what is judged is the full picture of the part."""
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
    assert len(rows) in (5, 6)  # Part 6 may be in the picture when part 5 leaves it.
    assert all(row["result"] != "ERROR" for row in rows)
    picture = cv2.imread(str(daemon.evidence / rows[0]["image"]))
    assert picture is not None and picture.shape == (320, 320, 3)
