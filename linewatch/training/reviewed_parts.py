"""What people said of judged parts: for calibration, for the next training, and to foresee a change."""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from linewatch.domain import Reason, Result, Verdict
from linewatch.errors import LinewatchError, StorageFull
from linewatch.models.bundle import Bundle, versions_with_same_scores
from linewatch.storage.journal_reader import JournalFile, JournalReader
from linewatch.vision.recipe import Recipe, judge

GOOD, DEFECT = "good", "defect"
_SCORED = frozenset({Result.PASS, Result.FAIL, Result.UNSURE})


@dataclass(frozen=True, slots=True)
class ReviewedParts:
    """Parts of one product that its model scored: the marked ones, and the last ones."""

    good: tuple[Verdict, ...] = ()
    defects: tuple[Verdict, ...] = ()
    last: tuple[Verdict, ...] = ()  # Newest first.

    def changes(self, recipe: Recipe) -> dict[tuple[Result, Result], int]:
        """Return how many of the last parts would have had another result: (was, would be) -> number."""
        pairs = Counter((verdict.result, judge(verdict.raw, recipe)[0]) for verdict in self.last)
        return {pair: number for pair, number in pairs.items() if pair[0] is not pair[1]}

    def found(self, recipe: Recipe) -> int:
        """Return how many of the marked defects do not pass with a recipe."""
        return sum(judge(verdict.raw, recipe)[0] is not Result.PASS for verdict in self.defects)


def read_reviews(journal: Path, models: Path, bundle: Bundle, last: int) -> ReviewedParts:
    """Read what a journal has of the model's parts; nothing if there is no journal. Raises StorageFull.

    Only scores of the same graph count, whatever thresholds it had then.
    """
    if not journal.exists():
        return ReviewedParts()
    known = versions_with_same_scores(models, bundle)
    with JournalReader(JournalFile(journal)) as reader:
        marked = [pair for pair in reader.reviewed(bundle.product) if _comparable(pair[0], known)]
        recent = reader.verdicts(last, product=bundle.product, results=_SCORED)
    return ReviewedParts(
        good=tuple(verdict for verdict, said in marked if said.actual == GOOD),
        defects=tuple(verdict for verdict, said in marked if said.actual == DEFECT),
        last=tuple(verdict for verdict in recent if _comparable(verdict, known)),
    )


def copy_marked(journal: Path, evidence: Path, product: str, out: Path) -> dict[str, int]:
    """Copy the kept frames of marked parts into `out/good` and `out/defect`; return how many of each.

    Whatever model judged them. Raises LinewatchError when there are none, StorageFull.
    """
    pairs: Sequence[tuple[Verdict, str]] = ()
    if journal.exists():
        with JournalReader(JournalFile(journal)) as reader:
            pairs = [(verdict, said.actual) for verdict, said in reader.reviewed(product)]
    copied = {GOOD: 0, DEFECT: 0}
    for verdict, actual in pairs:
        picture = evidence / verdict.image
        if not verdict.image or not picture.is_file():
            continue
        target = out / actual / f"{verdict.boot}-{verdict.seq}.png"
        try:
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(picture.read_bytes())
        except OSError as error:
            raise StorageFull(target, f"{error.strerror}; make room or choose another --out") from error
        copied[actual] += 1
    if not any(copied.values()):
        raise LinewatchError(
            f"no marked part of product {product!r} has a picture in {str(evidence)!r}; "
            "mark some on the page under Review"
        )
    return copied


def _comparable(verdict: Verdict, models: frozenset[str]) -> bool:
    # What looked like another product has a score, but that is not why it was judged as it was.
    scored = verdict.result in _SCORED and verdict.reason is not Reason.WRONG_PRODUCT
    return scored and verdict.model in models and verdict.threshold > 0
