"""Own part, gross defect or another product: told by what a picture shows as a whole."""

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
    ("embedding", "told"),
    [
        (at(0.05, -0.05), ""),
        (at(0.4, 0.4), ""),  # Beyond the limit, and nearer to itself than to the lid.
        (at(0.9, 0.9), ""),  # Half-way is not clear enough.
        (at(2, -2), ""),  # A gross defect: as far from everything.
        (at(1.9, 0.1), "lid"),
        (at(0.1, 2.1), "lid"),  # Each sample counts.
        (at(-1.8, -2.2), "cup"),
        (at(np.nan, 0), ""),  # Its score is no number either, and fails.
    ],
)
def test_a_part_is_of_another_product_only_if_it_is_clearly_nearer_to_it(
    embedding: NDArray[np.float32], told: str
) -> None:
    """Far from its own product and less than half as far from one that is known by name."""
    assert ProductMatcher(OWN, (LID, CUP)).match(embedding) == told


@pytest.mark.parametrize(
    ("likeness", "references", "embedding"),
    [
        (OWN, (), at(2, 0)),
        (OWN, (OtherProduct("lid", ()),), at(2, 0)),
        (OWN, (LID,), NO_EMBEDDING),
        (None, (LID,), at(2, 0)),
    ],
)
def test_without_something_to_compare_with_no_part_is_of_another_product(
    likeness: Likeness | None, references: tuple[OtherProduct, ...], embedding: NDArray[np.float32]
) -> None:
    """One product alone, a sample that was not found, a model that tells nothing: the score decides."""
    assert ProductMatcher(likeness, references).match(embedding) == ""


def test_what_is_usual_is_learnt_from_good_parts() -> None:
    """No good part that was learnt from is beyond the limit, and the farthest one sets it."""
    parts = np.random.default_rng(0).normal((3, -1, 0), (0.5, 0.2, 0), (50, 3)).astype(np.float32)

    likeness = learn_likeness(parts)

    assert likeness.mean == pytest.approx((3, -1, 0), abs=0.2)
    assert likeness.spread == pytest.approx((0.5, 0.2, 0.05), abs=0.1)
    farthest = np.sqrt((((parts - likeness.mean) / likeness.spread) ** 2).mean(axis=1).max())
    assert likeness.limit == pytest.approx(LIMIT_FACTOR * farthest, rel=1e-3)


def test_a_mixed_belt_is_told_once_for_each_product() -> None:
    """Every second part is a lid: one event. After a quiet while a lid is news again."""
    alarm = WrongProductAlarm()
    mixed = ["lid", "", "lid", "cup", "", "lid"]

    assert [alarm.observe(seen) for seen in mixed] == [True, False, False, True, False, False]
    assert not any(alarm.observe("") for _ in range(QUIET_PARTS))
    assert alarm.observe("lid")
