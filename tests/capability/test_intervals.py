"""The stated intervals contain the truth, and the sampling plan is the textbook's."""

import numpy as np
import pytest

from linewatch.capability.intervals import (
    Estimate,
    kappa_between_passes,
    kappa_with_truth,
    parts_to_prove,
    provable_rate,
    rate,
)

STUDIES, GOOD, DEFECTIVE, PASSES = 200, 25, 25, 3
KINDS = {
    "capable": (0.02, 0.01, 0.3),
    "poor": (0.2, 0.1, 0.3),
    "always the same": (0.1, 0.05, 0.001),
    "different each time": (0.1, 0.05, 1000.0),
}
"""Miss rate, false alarm rate, and how much alike the parts are (the sum of both parameters of beta)."""


def contains(found: Estimate, truth: float) -> bool:
    """Whether the interval contains the truth."""
    return found.low - 1e-9 <= truth <= found.high + 1e-9


@pytest.mark.parametrize("kind", KINDS)
def test_intervals_contain_the_truth_in_95_of_100_studies(kind: str) -> None:
    """200 studies of 50 parts in 3 passes: each part has its own chance, as real ones do."""
    miss, alarm, alike = KINDS[kind]
    rng = np.random.default_rng(1)

    def chances(mean: float, count: int) -> np.ndarray:
        return rng.beta(mean * alike, (1 - mean) * alike, count)

    # E[p^k + (1 - p)^k] and E[2p(1 - p)] over the population, by a large sample of it.
    population = {mean: chances(mean, 400_000) for mean in (miss, alarm)}
    half = {mean: p**PASSES + (1 - p) ** PASSES for mean, p in population.items()}
    pairs = {mean: 2 * p * (1 - p) for mean, p in population.items()}
    same = (half[miss].mean() + half[alarm].mean()) / 2
    rejected = ((1 - miss) + alarm) / 2
    cohen = 1 - miss - alarm  # With as many good as defective parts.
    fleiss = 1 - (pairs[miss].mean() + pairs[alarm].mean()) / 2 / (2 * rejected * (1 - rejected))
    hits = dict.fromkeys(("miss", "alarm", "same", "cohen", "fleiss"), 0)
    for _ in range(STUDIES):
        missed = list(rng.binomial(PASSES, chances(miss, DEFECTIVE)) / PASSES)
        alarmed = list(rng.binomial(PASSES, chances(alarm, GOOD)) / PASSES)
        steady = [float(share in (0.0, 1.0)) for share in (*missed, *alarmed)]
        hits["miss"] += contains(rate(missed), miss)
        hits["alarm"] += contains(rate(alarmed), alarm)
        hits["same"] += contains(rate(steady), same)
        hits["cohen"] += contains(kappa_with_truth(missed, alarmed), cohen)
        hits["fleiss"] += contains(kappa_between_passes(missed, alarmed, PASSES), fleiss)

    assert {name: count for name, count in hits.items() if count < 0.95 * STUDIES} == {}


def test_a_rate_of_whole_parts_is_the_interval_of_clopper_and_pearson() -> None:
    """3 of 20: 3.2 % to 37.9 %, as in every table; none of 59: below 6.1 %; all of 5: above 47.8 %."""
    found = rate([1.0] * 3 + [0.0] * 17)
    assert (found.low, found.high) == pytest.approx((0.0321, 0.3789), abs=1e-4)
    assert rate([0.0] * 59).high == pytest.approx(0.0606, abs=1e-4)
    assert (rate([1.0] * 5).low, rate([1.0] * 5).high) == pytest.approx((0.4782, 1.0), abs=1e-4)
    assert rate([]) == Estimate(0.0, 0.0, 1.0)


@pytest.mark.parametrize(("rate_max", "misses", "parts"), [(0.05, 0, 59), (0.01, 0, 299), (0.1, 1, 46)])
def test_the_sampling_plan_is_the_textbook_s(rate_max: float, misses: int, parts: int) -> None:
    """59 parts without a miss prove 95 % at 95 % confidence; one part fewer does not."""
    assert parts_to_prove(rate_max, misses) == parts
    assert provable_rate(parts, misses) <= rate_max < provable_rate(parts - 1, misses)


def test_perfect_agreement_is_one_with_an_honest_lower_end() -> None:
    """A study without any error still does not prove that there are none."""
    none = [0.0] * 25
    cohen, fleiss = kappa_with_truth(none, none), kappa_between_passes(none, none, 3)

    assert (cohen.value, cohen.high) == (1.0, 1.0)
    assert 0.6 < cohen.low < 0.8
    assert fleiss.value == 1.0
    assert fleiss.low < 0.9
