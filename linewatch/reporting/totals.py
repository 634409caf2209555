"""Add up the verdicts of a shift, newest first, in memory that does not grow with most of them."""

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field

from linewatch.domain import Box, Reason, Result, Verdict
from linewatch.reporting.figures import (
    DefectRate,
    FirstPass,
    Latency,
    NamedCount,
    ProductFigures,
    ReasonCount,
    ReviewCount,
)
from linewatch.reporting.interval import rate_interval
from linewatch.reporting.places import DefectMap
from linewatch.storage.journal_reader import Review

SLOTS = 96  # Of a shift; those with parts of a product
BLOCKS = 16  # are put together to so many, to see how much the rate differs between them.
BOXES_MAX = 20_000  # On one heatmap, the newest.
IMAGES_MAX = 3  # Newest kept frames of each kind, should one be deleted meanwhile.
JUDGED = (Result.PASS, Result.FAIL, Result.UNSURE)
REJECTS = (Result.FAIL, Result.UNSURE)


@dataclass(slots=True)
class Totals:
    """What was judged of one product from `since_ms` to `until_ms` (UTC)."""

    since_ms: int
    until_ms: int
    results: Counter[Result] = field(default_factory=Counter)
    reasons: Counter[Reason] = field(default_factory=Counter)
    regions: Counter[str] = field(default_factory=Counter)
    models: Counter[str] = field(default_factory=Counter)
    latencies_ms: Counter[int] = field(default_factory=Counter)
    late: int = 0
    boxes: list[Box] = field(default_factory=list)
    good_images: list[str] = field(default_factory=list)
    other_images: list[str] = field(default_factory=list)
    first: dict[str, bool] = field(default_factory=dict)  # Whether a named part passed at first.
    unnamed: Counter[bool] = field(default_factory=Counter)
    slots: list[list[int]] = field(default_factory=lambda: [[0, 0] for _ in range(SLOTS)])  # FAIL, judged.
    reviewed: int = 0
    reviewed_good: int = 0
    passed_defect: int = 0

    def add(self, verdict: Verdict, review: Review | None) -> None:
        """Add the verdict before those that were added."""
        self.results[verdict.result] += 1
        self.models[verdict.model] += 1
        self.latencies_ms[verdict.latency_ms] += 1
        self.late += verdict.late
        if verdict.part:
            self.first[verdict.part] = verdict.result is Result.PASS  # The oldest comes last.
        else:
            self.unnamed[verdict.result is Result.PASS] += 1
        if verdict.result is not Result.PASS:
            self.reasons[verdict.reason] += 1
        if verdict.result in JUDGED:
            self._add_to_slot(verdict)
        if verdict.result is Result.FAIL:
            self._add_defect(verdict)
        if review is not None:
            self._add_review(verdict, review)
        images = self.good_images if verdict.result is Result.PASS else self.other_images
        if verdict.image and len(images) < IMAGES_MAX:
            images.append(verdict.image)

    def latency_ms(self, share: float) -> int:
        """Return the quantile of the latency, 0 without verdicts."""
        seen, wanted = 0, share * self.latencies_ms.total()
        for value in sorted(self.latencies_ms):
            seen += self.latencies_ms[value]
            if seen >= wanted:
                return value
        return 0

    def figures(self, product: str, defects: DefectMap) -> ProductFigures:
        """Return everything on one product."""
        return ProductFigures(
            product=product,
            inspections=self.results.total(),
            results=results([self]),
            defect_rate=defect_rate([self]),
            first_pass=first_pass([self]),
            reasons=[ReasonCount(reason=reason, parts=n) for reason, n in _ranked(self.reasons)],
            regions=[NamedCount(name=name, parts=n) for name, n in _ranked(self.regions)],
            models=[NamedCount(name=name, parts=n) for name, n in _ranked(self.models)],
            reviews=ReviewCount(
                rejects=sum(self.results[result] for result in REJECTS),
                reviewed=self.reviewed,
                good=self.reviewed_good,
                passed_defect=self.passed_defect,
            ),
            latency_ms=Latency(
                median=self.latency_ms(0.5),
                p95=self.latency_ms(0.95),
                p99=self.latency_ms(0.99),
                late=self.late,
            ),
            defects_placed=len(self.boxes),
            places=list(defects.places),
            frame=defects.frame,
        )

    def _add_to_slot(self, verdict: Verdict) -> None:
        span_ms = max(1, self.until_ms - self.since_ms)
        place = (verdict.captured_ms - self.since_ms) * SLOTS // span_ms
        slot = self.slots[max(0, min(SLOTS - 1, place))]
        slot[0] += verdict.result is Result.FAIL
        slot[1] += 1

    def _add_defect(self, verdict: Verdict) -> None:
        if verdict.region:
            self.regions[verdict.region] += 1
        if verdict.box[2] and verdict.box[3] and len(self.boxes) < BOXES_MAX:
            self.boxes.append(verdict.box)

    def _add_review(self, verdict: Verdict, review: Review) -> None:
        if verdict.result in REJECTS:
            self.reviewed += 1
            self.reviewed_good += review.actual == "good"
        elif verdict.result is Result.PASS:
            self.passed_defect += review.actual == "defect"


def add_up(
    verdicts: Iterable[tuple[Verdict, Review | None]], since_ms: int, until_ms: int
) -> dict[str, Totals]:
    """Return the totals of each product; `verdicts` are newest first."""
    products: dict[str, Totals] = {}
    for verdict, review in verdicts:
        if verdict.product not in products:
            products[verdict.product] = Totals(since_ms, until_ms)
        products[verdict.product].add(verdict, review)
    return dict(sorted(products.items()))


def defect_rate(products: Collection[Totals]) -> DefectRate:
    """Return FAIL / judged of some products together, with its interval."""
    slots = [
        (sum(failed for failed, _ in slot), sum(judged for _, judged in slot))
        for slot in zip(*(totals.slots for totals in products), strict=True)
    ]
    found = rate_interval(_blocks(slots))
    return DefectRate(
        value=found.value,
        low=found.low,
        high=found.high,
        judged=sum(judged for _, judged in slots),
        effective=found.effective,
        from_blocks=found.from_blocks,
    )


def _blocks(slots: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Put slots together, from the first with parts to the last, to at most BLOCKS of the same length."""
    used = [place for place, (_, judged) in enumerate(slots) if judged]
    if not used:
        return []
    made = slots[used[0] : used[-1] + 1]
    length = -(-len(made) // BLOCKS)
    groups = (made[start : start + length] for start in range(0, len(made), length))
    return [(sum(failed for failed, _ in group), sum(judged for _, judged in group)) for group in groups]


def first_pass(products: Collection[Totals]) -> FirstPass:
    """Return how many parts of some products passed when they were first inspected."""
    passed = sum(sum(totals.first.values()) + totals.unnamed[True] for totals in products)
    parts = sum(len(totals.first) + totals.unnamed.total() for totals in products)
    return FirstPass(passed=passed, parts=parts, value=passed / parts if parts else 0.0)


def results(products: Collection[Totals]) -> dict[Result, int]:
    """Return the number of verdicts of each result."""
    return {result: sum(totals.results[result] for totals in products) for result in Result}


def _ranked(counts: Counter) -> list[tuple]:  # type: ignore[type-arg]
    """Return the most frequent first; of equal ones the smaller."""
    return sorted(counts.items(), key=lambda counted: (-counted[1], counted[0]))
