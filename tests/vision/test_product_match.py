"""Own part, gross defect or another product: distinguished by the embedding."""

import numpy as np
import pytest
from numpy.typing import NDArray

from linewatch.domain import NO_EMBEDDING
from linewatch.vision.product_match import (
    LIMIT_FACTOR,
    QUIET_PARTS,
    Likeness,
    OtherProduct,
    ProductMatcher,
    WrongProductAlarm,
    learn_likeness,
)


def at(*channels: float) -> NDArray[np.float32]:
    """Return an embedding."""
    return np.array(channels, np.float32)


OWN = Likeness(mean=(0.0, 0.0), spread=(0.1, 0.1), limit=3.0)
LID, CUP = OtherProduct("lid", (at(2, 0), at(0, 2))), OtherProduct("cup", (at(-2, -2),))


@pytest.mark.parametrize(
    ("embedding", "product"),
    [
        (at(0.05, -0.05), ""),
        (at(0.4, 0.4), ""),  # Beyond the limit, but nearer to its own product than to the lid.
        (at(0.9, 0.9), ""),  # Half-way between both.
        (at(2, -2), ""),  # A gross defect: equally far from all products.
        (at(1.9, 0.1), "lid"),
        (at(0.1, 2.1), "lid"),  # Each sample counts.
        (at(-1.8, -2.2), "cup"),
        (at(np.nan, 0), ""),  # The score is NaN as well, and fails.
    ],
)
def test_a_part_is_of_another_product_only_if_it_is_clearly_nearer_to_it(
    embedding: NDArray[np.float32], product: str
) -> None:
    """A match is far from its own product and less than half as far from the other one."""
    assert ProductMatcher(OWN, (LID, CUP)).match(embedding) == product


@pytest.mark.parametrize(
    ("likeness", "references", "embedding"),
    [
        (OWN, (), at(2, 0)),
        (OWN, (OtherProduct("lid", ()),), at(2, 0)),
        (OWN, (LID,), NO_EMBEDDING),
        (None, (LID,), at(2, 0)),
    ],
)
def test_without_references_likeness_or_embedding_nothing_matches(
    likeness: Likeness | None, references: tuple[OtherProduct, ...], embedding: NDArray[np.float32]
) -> None:
    """No other product, no registered sample, no embedding or no likeness: no match."""
    assert ProductMatcher(likeness, references).match(embedding) == ""


def test_the_likeness_is_estimated_from_good_parts() -> None:
    """The farthest training part sets the limit, so that none exceeds it."""
    parts = np.random.default_rng(0).normal((3, -1, 0), (0.5, 0.2, 0), (50, 3)).astype(np.float32)

    likeness = learn_likeness(parts)

    assert likeness.mean == pytest.approx((3, -1, 0), abs=0.2)
    assert likeness.spread == pytest.approx((0.5, 0.2, 0.05), abs=0.1)
    farthest = np.sqrt((((parts - likeness.mean) / likeness.spread) ** 2).mean(axis=1).max())
    assert likeness.limit == pytest.approx(LIMIT_FACTOR * farthest, rel=1e-3)


def test_a_mixed_belt_raises_one_alarm_for_each_product() -> None:
    """The alarm is armed again after enough parts of the own product."""
    alarm = WrongProductAlarm()
    mixed = ["lid", "", "lid", "cup", "", "lid"]

    assert [alarm.observe(seen) for seen in mixed] == [True, False, False, True, False, False]
    assert not any(alarm.observe("") for _ in range(QUIET_PARTS))
    assert alarm.observe("lid")
