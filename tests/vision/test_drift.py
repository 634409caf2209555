"""The drift charts on random parts: no alarm on usual parts, an alarm soon after a change."""

from collections.abc import Iterable

import numpy as np
import pytest

from linewatch.domain import Result
from linewatch.vision.drift import LEARN, Drift, DriftChange, RejectChart, Signal

SOON = 50
RNG = np.random.default_rng
USUAL = tuple(float(score) for score in RNG(0).gumbel(1.0, 0.08, 120))
THRESHOLD = 1.6
QUANTILES = (94.0, 96.0, 98.5, 100.0, 101.5, 104.0, 106.0)


class Belt:
    """Feeds one product's charts with random parts like those of its calibration."""

    def __init__(self, seed: int = 1, rejects: float = 0.05) -> None:
        self.drift = Drift(USUAL, THRESHOLD, QUANTILES, QUANTILES)
        self.rate = rejects
        self._rng = RNG(seed)

    def run(
        self,
        parts: int,
        *,
        brightness: float = 1.0,
        sharpness: float = 1.0,
        score: float = 0.0,
        rejects: float | None = None,
    ) -> list[DriftChange]:
        """Feed parts with shifted brightness, sharpness and scores; return the changes."""
        return [change for _ in range(parts) for change in self._part(brightness, sharpness, score, rejects)]

    def _part(
        self, brightness: float, sharpness: float, score: float, rejects: float | None
    ) -> Iterable[DriftChange]:
        rate = self.rate if rejects is None else rejects
        brightness, sharpness = (usual + self._rng.normal(0, 0.025) for usual in (brightness, sharpness))
        yield from self.drift.observe_image(brightness, sharpness)
        failed = self._rng.random() < rate
        raw = 3.0 if failed else float(self._rng.gumbel(1.0, 0.08)) + score
        yield from self.drift.observe_part(Result.FAIL if failed else Result.PASS, raw)


def signals(changes: list[DriftChange]) -> list[tuple[Signal, bool]]:
    """Return signal and state of each change."""
    return [(change.signal, change.on) for change in changes]


@pytest.mark.parametrize("seed", range(5))
def test_a_thousand_usual_parts_raise_no_alarm(seed: int) -> None:
    """There is no signal while the usual reject rate is estimated, and none afterwards."""
    assert Belt(seed).run(1000) == []


@pytest.mark.parametrize(
    ("change", "signal"),
    [
        ({"brightness": 0.85}, Signal.BRIGHTNESS),
        ({"brightness": 1.15}, Signal.BRIGHTNESS),
        ({"sharpness": 0.66}, Signal.SHARPNESS),
        ({"rejects": 1.0}, Signal.REJECTS),
    ],
)
@pytest.mark.parametrize("usual_parts", [0, 1000])
def test_a_change_is_signalled_soon_and_once(
    usual_parts: int, change: dict[str, float], signal: Signal
) -> None:
    """A change is signalled within 50 parts, from the first part of a day on, and nothing else is."""
    belt = Belt()
    belt.run(usual_parts)

    assert signals(belt.run(SOON, **change)) == [(signal, True)]


def test_scores_that_move_below_the_threshold_are_signalled_before_anything_fails() -> None:
    """Scores of good parts that approach the threshold raise the signal while all parts still pass."""
    belt = Belt(rejects=0.0)
    belt.run(1000)

    assert signals(belt.run(120, score=0.25)) == [(Signal.SCORES, True)]
    assert belt.drift.psi > 0.25


def test_a_small_shift_of_scores_is_not_signalled() -> None:
    """The index exceeds its limit, but the median moved by less than a tenth of the threshold."""
    belt = Belt(rejects=0.0)

    assert belt.run(1000, score=0.08) == []
    assert belt.drift.psi > 0.25


def test_the_end_of_a_drift_is_signalled_too() -> None:
    """After the lamp is replaced, the signal is cleared."""
    belt = Belt()
    belt.run(100, brightness=0.8)

    assert signals(belt.run(100)) == [(Signal.BRIGHTNESS, False)]


def test_a_line_that_suddenly_rejects_nothing_is_signalled() -> None:
    """After a reject rate of 10 %, hundreds of parts without a reject raise the signal."""
    belt = Belt(rejects=0.1)
    belt.run(1000)

    quiet = belt.run(400, rejects=0.0)
    assert signals(quiet) == [(Signal.NO_REJECTS, True)]
    assert signals(belt.run(100, rejects=0.5))[0] == (Signal.NO_REJECTS, False)


def test_a_line_that_never_rejected_raises_no_alarm() -> None:
    """Without rejects in the learning phase, a long run without any is not suspicious."""
    assert Belt(rejects=0.0).run(3000) == []


def test_a_high_usual_rate_is_usual() -> None:
    """A steady reject rate of 20 % raises no signal; three times that rate does."""
    belt = Belt(rejects=0.2)
    assert belt.run(2000) == []

    assert signals(belt.run(300, rejects=0.6)) == [(Signal.REJECTS, True)]


def test_the_usual_rate_outlives_a_changeover() -> None:
    """A restart resets the chart and keeps the estimated rate."""
    rejects = RejectChart()
    for number in range(LEARN):
        rejects.observe(number % 10 == 0)
    learnt = rejects.rate
    for _ in range(30):
        rejects.observe(True)
    assert rejects.on

    rejects.restart()

    assert (rejects.on, rejects.value, rejects.rate) == (False, 0.0, learnt)


def test_too_few_calibration_scores_make_no_distribution() -> None:
    """With ten calibration scores and no training statistics no signal is raised."""
    drift = Drift((1.0,) * 10, 2.0)
    changes: list[DriftChange] = []
    for _ in range(500):
        changes += (*drift.observe_image(1.0, 1.0), *drift.observe_part(Result.PASS, 9.0))

    assert (changes, drift.psi) == ([], 0.0)


def test_a_part_without_a_score_counts_as_a_reject() -> None:
    """Parts that are not found are rejected, so they count."""
    drift = Drift()

    changes = [change for _ in range(SOON) for change in drift.observe_part(Result.UNSURE, None)]

    assert signals(changes) == [(Signal.REJECTS, True)]


def test_closing_clears_what_was_raised_and_raises_nothing_more() -> None:
    """A changeover ends the drift of the product before it, also if a last part is still in work."""
    belt = Belt()
    raised = [change for change in belt.run(SOON, brightness=0.8) if change.on]
    assert [change.signal for change in raised] == [Signal.BRIGHTNESS]

    cleared = belt.drift.close()

    assert [(change.signal, change.on) for change in cleared] == [(Signal.BRIGHTNESS, False)]
    assert belt.run(SOON, brightness=0.8) == []
    assert belt.drift.close() == []
