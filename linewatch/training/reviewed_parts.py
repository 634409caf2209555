"""Parts that operators reviewed: for calibration, for the next training, and to predict a change."""

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from linewatch.domain import Reason, Result, Verdict
from linewatch.errors import LinewatchError, StorageFull
from linewatch.models.bundle import Bundle, versions_with_same_scores
from linewatch.storage.journal_reader import JournalFile, JournalReader
from linewatch.storage.journal_search import Conditions
from linewatch.vision.recipe import Recipe, comparable_raw, judge

GOOD, DEFECT = "good", "defect"
_SCORED = frozenset({Result.PASS, Result.FAIL, Result.UNSURE})


@dataclass(frozen=True, slots=True)
class ReviewedParts:
    """Verdicts of one product with scores of the same graph: reviewed parts, and the latest parts."""

    good: tuple[Verdict, ...] = ()
    defects: tuple[Verdict, ...] = ()
    last: tuple[Verdict, ...] = ()  # Newest first.

    def count_changes(self, recipe: Recipe) -> dict[tuple[Result, Result], int]:
        """Return how many of the latest parts would get another result: (actual, with `recipe`) -> number."""
        pairs = Counter((verdict.result, _judge_again(verdict, recipe)) for verdict in self.last)
        return {pair: number for pair, number in pairs.items() if pair[0] is not pair[1]}

    def count_found(self, recipe: Recipe) -> int:
        """Return how many of the reviewed defects do not pass with `recipe`."""
        return sum(_judge_again(verdict, recipe) is not Result.PASS for verdict in self.defects)


def read_reviews(journal: Path, models: Path, bundle: Bundle, last: int) -> ReviewedParts:
    """Read the reviewed parts and the `last` latest parts from a journal; none if there is no journal.

    Includes versions with other thresholds but the same graph, as their scores are comparable.
    Raises StorageFull.
    """
    if not journal.exists():
        return ReviewedParts()
    comparable = versions_with_same_scores(models, bundle)
    with JournalReader(JournalFile(journal)) as reader:
        reviewed = [pair for pair in reader.reviewed(bundle.product) if _comparable(pair[0], comparable)]
        recent = reader.search(last, Conditions(product=bundle.product, results=_SCORED)).verdicts
    return ReviewedParts(
        good=tuple(verdict for verdict, review in reviewed if review.actual == GOOD),
        defects=tuple(verdict for verdict, review in reviewed if review.actual == DEFECT),
        last=tuple(verdict for verdict in recent if _comparable(verdict, comparable)),
    )


def copy_reviewed_images(journal: Path, evidence: Path, product: str, out: Path) -> dict[str, int]:
    """Copy the stored frames of reviewed parts into `out/good` and `out/defect`; return how many of each.

    Parts judged by any version count. Raises LinewatchError when there are none, and StorageFull.
    """
    copied = {GOOD: 0, DEFECT: 0}
    for name, actual, image in reviewed_images(journal, evidence, product):
        target = out / actual / f"{name}.png"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(image.read_bytes())
        except OSError as error:
            raise StorageFull(target, f"{error.strerror}; make room or choose another --out") from error
        copied[actual] += 1
    if not any(copied.values()):
        raise LinewatchError(
            f"no marked part of product {product!r} has a picture in {str(evidence)!r}; "
            "mark some on the page under Review"
        )
    return copied


def reviewed_images(journal: Path, evidence: Path, product: str) -> list[tuple[str, str, Path]]:
    """Return boot and sequence, review and stored frame of each reviewed part that still has one.

    Parts judged by any version count. Raises StorageFull.
    """
    if not journal.exists():
        return []
    with JournalReader(JournalFile(journal)) as reader:
        pairs = [(verdict, review.actual) for verdict, review in reader.reviewed(product)]
    return [
        (f"{verdict.boot}-{verdict.seq}", actual, evidence / verdict.image)
        for verdict, actual in pairs
        if verdict.image and (evidence / verdict.image).is_file()
    ]


def _judge_again(verdict: Verdict, recipe: Recipe) -> Result:
    return judge(comparable_raw(verdict, recipe), recipe).result


def _comparable(verdict: Verdict, models: frozenset[str]) -> bool:
    # A WRONG_PRODUCT verdict has a score, but was not decided by it.
    scored = verdict.result in _SCORED and verdict.reason is not Reason.WRONG_PRODUCT
    return scored and verdict.model in models and verdict.threshold > 0
