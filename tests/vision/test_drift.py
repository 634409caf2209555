"""The charts on parts drawn by chance: what is usual tells nothing, what changes is told soon."""

from collections.abc import Iterable

import numpy as np
import pytest

from linewatch.domain import Result
from linewatch.vision.drift import LEARN, Drift, DriftChange, Rejects, Signal

SOON = 50
RNG = np.random.default_rng
USUAL = tuple(float(score) for score in RNG(0).gumbel(1.0, 0.08, 120))
THRESHOLD = 1.6
QUANTILES = (94.0, 96.0, 98.5, 100.0, 101.5, 104.0, 106.0)


class Belt:
    """Feeds the charts of one product with parts like those it was calibrated with."""

    def __init__(self, seed: int = 1, rejects: float = 0.05) -> None:
        self.drift = Drift(USUAL, THRESHOLD, QUANTILES, QUANTILES)
        self.rate = rejects
        self._rng = RNG(seed)

    def run(
        self,
        parts: int,
        *,
        light: float = 1.0,
        edges: float = 1.0,
        score: float = 0.0,
        rejects: float | None = None,
    ) -> list[DriftChange]:
        """Feed parts whose light, edges and scores are shifted; return what was told."""
        return [edge for _ in range(parts) for edge in self._part(light, edges, score, rejects)]

    def _part(self, light: float, edges: float, score: float, rejects: float | None) -> Iterable[DriftChange]:
        rate = self.rate if rejects is None else rejects
        yield from self.drift.picture(light + self._rng.normal(0, 0.025), edges + self._rng.normal(0, 0.025))
        failed = self._rng.random() < rate
        raw = 3.0 if failed else float(self._rng.gumbel(1.0, 0.08)) + score
        yield from self.drift.part(Result.FAIL if failed else Result.PASS, raw)


def told(edges: list[DriftChange]) -> list[tuple[Signal, bool]]:
    """Return what was told, without its numbers."""
    return [(edge.signal, edge.on) for edge in edges]


@pytest.mark.parametrize("seed", range(5))
def test_a_thousand_usual_parts_tell_nothing(seed: int) -> None:
    """Neither while the usual rate of rejects is learnt nor after."""
    assert Belt(seed).run(1000) == []


@pytest.mark.parametrize(
    ("change", "signal"),
    [
        ({"light": 0.85}, Signal.BRIGHTNESS),
        ({"light": 1.15}, Signal.BRIGHTNESS),
        ({"edges": 0.66}, Signal.SHARPNESS),
        ({"rejects": 1.0}, Signal.REJECTS),
    ],
)
@pytest.mark.parametrize("usual_parts", [0, 1000])
def test_a_change_is_told_soon_and_once(usual_parts: int, change: dict[str, float], signal: Signal) -> None:
    """Within 50 parts, at the first part of the day as well as later; nothing else is told."""
    belt = Belt()
    belt.run(usual_parts)

    assert told(belt.run(SOON, **change)) == [(signal, True)]


def test_scores_that_move_below_the_threshold_are_told_before_anything_fails() -> None:
    """Good parts come nearer to the threshold and all still pass."""
    belt = Belt(rejects=0.0)
    belt.run(1000)

    assert told(belt.run(120, score=0.25)) == [(Signal.SCORES, True)]
    assert belt.drift.psi > 0.25


def test_a_shift_of_scores_that_changes_nothing_is_not_told() -> None:
    """It shows in the index; but the middle moved by less than a tenth of the threshold."""
    belt = Belt(rejects=0.0)

    assert belt.run(1000, score=0.08) == []
    assert belt.drift.psi > 0.25


def test_what_is_usual_again_is_told_too() -> None:
    """The lamp was replaced."""
    belt = Belt()
    belt.run(100, light=0.8)

    assert told(belt.run(100)) == [(Signal.BRIGHTNESS, False)]


def test_a_line_that_suddenly_rejects_nothing_is_told() -> None:
    """After 10 % of rejects, hundreds of parts without one are no luck: somebody may have blinded it."""
    belt = Belt(rejects=0.1)
    belt.run(1000)

    quiet = belt.run(400, rejects=0.0)
    assert told(quiet) == [(Signal.NO_REJECTS, True)]
    assert told(belt.run(100, rejects=0.5))[0] == (Signal.NO_REJECTS, False)


def test_a_line_that_never_rejects_may_go_on_so() -> None:
    """Nothing was learnt that would make it suspicious."""
    assert Belt(rejects=0.0).run(3000) == []


def test_a_high_usual_rate_is_usual() -> None:
    """A fifth of the parts of a bad process is rejected every day; twice as many are news."""
    belt = Belt(rejects=0.2)
    assert belt.run(2000) == []

    assert told(belt.run(300, rejects=0.6)) == [(Signal.REJECTS, True)]


def test_the_usual_rate_outlives_a_changeover() -> None:
    """The charts begin anew, what was learnt stays."""
    rejects = Rejects()
    for number in range(LEARN):
        rejects.observe(number % 10 == 0)
    learnt = rejects.rate
    for _ in range(30):
        rejects.observe(True)
    assert rejects.on

    rejects.restart()

    assert (rejects.on, rejects.value, rejects.rate) == (False, 0.0, learnt)


def test_too_few_calibration_scores_make_no_distribution() -> None:
    """And without statistics of the training pictures only large changes count."""
    drift = Drift((1.0,) * 10, 2.0)
    edges = [edge for _ in range(500) for edge in (*drift.picture(1.0, 1.0), *drift.part(Result.PASS, 9.0))]

    assert (edges, drift.psi) == ([], 0.0)


def test_a_part_without_a_score_counts_as_a_reject() -> None:
    """Parts that are not found fill the reject bin too."""
    drift = Drift()

    assert told([e for _ in range(SOON) for e in drift.part(Result.UNSURE, None)]) == [(Signal.REJECTS, True)]
