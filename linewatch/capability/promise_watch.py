"""Watch whether a station keeps what was promised when its model was taught, and report when it does not."""

import logging
import math
import threading
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol, Self

from linewatch.capability.promise import Interval, interval, strongest_start
from linewatch.domain import Verdict
from linewatch.errors import RecipeError, StorageFull
from linewatch.models.bundle import Calibration, read_bundle
from linewatch.settings import PromiseSettings, Settings
from linewatch.storage.journal import Journal
from linewatch.storage.promise.counts import Period, PromiseCounts, PromiseTest
from linewatch.storage.promise.draw import Draw

log = logging.getLogger(__name__)

FALSE_REJECTS, ESCAPES = "false_rejects", "escapes"
ASSESS_EVERY_S = 5.0  # While parts arrive; a page that asks gets the newest counts.
PATIENCE_S = 0.2  # A page waits no longer for another thread that counts.
BY = "linewatch"  # In the audit.


class Standing(StrEnum):
    """What the counts say of a promise."""

    NONE = "none"  # Nothing was promised.
    OPEN = "open"  # The interval contains the promised rate.
    KEPT = "kept"  # The whole interval is below it.
    BROKEN = "broken"  # The rate was above it, in all parts or since a day.


@dataclass(frozen=True, slots=True)
class Promise:
    """One promised rate, as shares 0 to 1."""

    name: str  # FALSE_REJECTS or ESCAPES.
    promised: float | None  # At most; None: nothing.
    known: int  # Marked cases.
    parts: int  # At most so many parts are they of.
    interval: Interval  # Of the mean rate of all parts of the test so far.
    standing: Standing
    broken_since_ms: int = 0  # Since when that is clearest, UTC milliseconds since 1970; 0: not broken.


@dataclass(frozen=True, slots=True)
class ProductPromises:
    """The promises on one product, of the model and thresholds that judged its newest part."""

    test: PromiseTest
    counts: Counter[str]  # As `storage.promise.tables.COUNTED` names them.
    waiting: int  # Drawn PASS parts that wait to be inspected again.
    false_rejects: Promise
    escapes: Promise

    @property
    def unmarked(self) -> int:
        """Return how many FAILs are unmarked."""
        return self.counts["failed"] - self.counts["failed_good"] - self.counts["failed_defect"]

    @property
    def false_rejects_if_alike(self) -> float | None:
        """Return the rate of false rejects if unmarked FAILs are like the marked ones; None without any."""
        marked = self.counts["failed_good"] + self.counts["failed_defect"]
        if not marked:
            return None
        good = self.counts["failed"] * self.counts["failed_good"] / marked
        return good / (good + self.counts["passed"]) if good else 0.0

    @property
    def escapes_elsewhere(self) -> int:
        """Return how many PASS parts were marked as defects without having been drawn."""
        return self.counts["passed_defect"] - self.counts["drawn_defect"]


def assess(
    test: PromiseTest,
    periods: Sequence[Period],
    waiting: int = 0,
    *,
    false_rejects: float | None = None,
    escapes: float | None = None,
) -> ProductPromises:
    """Return what the counts of a test say of the promised rates.

    False rejects are FAILs marked good, of all parts that are not known to be defects. So an unmarked FAIL
    never speaks against the promise, whichever are marked; for the upper limit it counts as a false reject.
    Escapes are drawn PASS parts marked as defects, of those marked: they count for all PASS parts if which
    of the drawn ones are marked does not depend on how they look.
    """
    total: Counter[str] = Counter()
    for period in periods:
        total.update(period.counts)
    good = [_perhaps_good(period.counts) for period in periods]
    unmarked = total["failed"] - total["failed_good"] - total["failed_defect"]
    # PASS parts count as good: the few escapes among them change nothing in the limit.
    certain = total["passed"] - total["passed_defect"] + total["failed_good"] + total["unsure_good"]
    limits = interval(total["failed_good"], sum(good), total["failed_good"] + unmarked, certain + unmarked)
    inspected = [period.counts["drawn_good"] + period.counts["drawn_defect"] for period in periods]
    return ProductPromises(
        test,
        total,
        waiting,
        _promise(FALSE_REJECTS, false_rejects, periods, "failed_good", good, limits),
        _promise(
            ESCAPES,
            escapes,
            periods,
            "drawn_defect",
            inspected,
            interval(total["drawn_defect"], sum(inspected)),
        ),
    )


def _perhaps_good(counts: Counter[str]) -> int:
    """Return how many parts are not known to be defects."""
    judged = counts["passed"] + counts["failed"] + counts["unsure"]
    return judged - counts["passed_defect"] - counts["failed_defect"] - counts["unsure_defect"]


def _promise(
    name: str,
    promised: float | None,
    periods: Sequence[Period],
    case: str,
    parts: Sequence[int],
    limits: Interval,
) -> Promise:
    found = [period.counts[case] for period in periods]
    standing, since_ms = Standing.NONE, 0
    if promised is not None:
        finding = strongest_start(found, parts, promised)
        if finding.broken:
            standing, since_ms = Standing.BROKEN, periods[finding.start].since_ms
        else:
            standing = Standing.KEPT if limits.high <= promised else Standing.OPEN
    return Promise(name, promised, sum(found), sum(parts), limits, standing, since_ms)


class Events(Protocol):
    """Takes events; the station."""

    def event(self, name: str, **facts: object) -> None:
        """Publish one event."""


class PromiseWatch:
    """Assesses the newest test of each product; thread-safe.

    An alarm that begins or ends is an event and an entry of the audit, once, also over restarts; without
    `events`, where no line runs, that is left to the line's next start. `show` gets
    product and promise of each assessment, and as keywords whether it is `broken`, the rates `promised`,
    `low` and `high`, and how many drawn parts are `waiting`.
    """

    def __init__(
        self,
        journal: Journal,
        settings: PromiseSettings,
        models: Path,
        keep_days: float,
        *,
        events: Events | None = None,
        show: Callable[..., None] = lambda _product, _promise, **_figures: None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`keep_days` is how long images are kept, and drawn parts can be inspected again.

        Raises StorageFull.
        """
        self._journal = journal
        self._settings = settings
        self._models = models
        self._counts = PromiseCounts(journal, settings.reinspect_share, keep_days)
        self._events = events
        self._show = show
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._changed: set[str] = set()
        self._found: dict[str, ProductPromises] = {}
        self._calibrations: dict[tuple[str, str], Calibration] = {}
        self._due_s = -math.inf
        self._reported: dict[tuple[str, str], tuple[int, bool]] = {}  # Product and promise -> test, broken.

    @classmethod
    def of(cls, settings: Settings, journal: Journal, **more: Any) -> Self:
        """Return the watch of a station; `more` are `events` and `show`. Raises StorageFull."""
        return cls(journal, settings.promise, settings.models.path, settings.evidence.retention_days, **more)

    @property
    def draw(self) -> Draw:
        """Which PASS parts are inspected again, so that their images are kept."""
        return self._counts.draw

    def step(self) -> None:
        """Count what is new, and now and then assess it; call it about once a second."""
        with self._lock:
            self._refresh(only_if_due=True)

    def products(self) -> list[ProductPromises]:
        """Return the promises of every product by name, with every mark until now.

        While the disk does not answer or refuses they are those of before.
        """
        self._refresh_soon()
        return self.known()

    def known(self) -> list[ProductPromises]:
        """Return the promises as `step` assessed them last, without reading anything."""
        found = dict(self._found)
        return [found[product] for product in sorted(found)]

    def queue(self, limit: int, after: tuple[int, int] = (0, 0), product: str = "") -> list[Verdict]:
        """Return drawn PASS parts that wait to be inspected again, the oldest first. Raises StorageFull."""
        self._refresh_soon()  # A part just marked no longer waits.
        return self._counts.queue(limit, after, product)

    def waiting(self, product: str = "") -> int:
        """Return how many drawn PASS parts wait. Raises StorageFull."""
        return self._counts.waiting(product)

    def _refresh_soon(self) -> None:
        """Refresh now; return after a while if another thread waits for the disk with that."""
        if self._lock.acquire(timeout=PATIENCE_S):
            try:
                self._refresh()
            finally:
                self._lock.release()

    def _refresh(self, *, only_if_due: bool = False) -> None:
        with suppress(StorageFull):  # The journal's own steps report the disk.
            self._changed |= self._counts.step()
            if self._changed and (not only_if_due or self._clock_s() >= self._due_s):
                self._assess()

    def _assess(self) -> None:
        self._due_s = self._clock_s() + ASSESS_EVERY_S
        for product in sorted(self._changed):
            test = self._counts.newest_test(product)
            if test is None:  # The journal was replaced.
                self._found.pop(product, None)
            else:
                waiting = self._counts.waiting(product)
                found = assess(test, self._counts.periods(test.test), waiting, **self._promised(test))
                self._found[product] = found
                self._show_figures(found)
                if self._events is not None:
                    self._report(self._events, found)
            self._changed.discard(product)

    def _promised(self, test: PromiseTest) -> Mapping[str, float | None]:
        """Return what is promised: by the settings, or of false rejects by the calibration of the model.

        A calibration says nothing of a threshold that someone wrote into the recipe.
        """
        false_rejects = self._settings.false_rejects_max or None
        if false_rejects is None:
            calibration = self._calibration(test)
            if calibration is not None and calibration.threshold in test.limits:
                false_rejects = calibration.false_reject
        return {FALSE_REJECTS: false_rejects, ESCAPES: self._settings.escapes_max or None}

    def _calibration(self, test: PromiseTest) -> Calibration | None:
        key = test.product, test.model
        if key not in self._calibrations:
            try:
                bundle = read_bundle(self._models, *key, verify=False)
            except RecipeError:
                return None  # It was removed.
            self._calibrations[key] = bundle.calibration
        return self._calibrations[key]

    def _report(self, events: Events, found: ProductPromises) -> None:
        alarms = self._counts.alarms(found.test.product)
        for promise in (found.false_rejects, found.escapes):
            begun = alarms.get(promise.name)
            if promise.standing is Standing.BROKEN:
                if begun is None or begun.test != found.test.test:
                    self._announce(events, found.test, promise)
                    self._counts.begin_alarm(found.test.product, promise.name, found.test.test)
            elif begun is not None:
                self._announce(events, found.test, promise)
                self._counts.end_alarm(found.test.product, promise.name)

    def _show_figures(self, found: ProductPromises) -> None:
        for promise in (found.false_rejects, found.escapes):
            self._show(
                found.test.product,
                promise.name,
                broken=promise.standing is Standing.BROKEN,
                promised=math.nan if promise.promised is None else promise.promised,
                low=promise.interval.low,
                high=promise.interval.high,
                waiting=found.waiting,
            )

    def _announce(self, events: Events, test: PromiseTest, promise: Promise) -> None:
        """Report that an alarm begins or ends; first to whom it may concern, then for the record."""
        broken = promise.standing is Standing.BROKEN
        facts = {
            "product": test.product,
            "model": test.model,
            "promise": promise.name,
            "promised": promise.promised,
            "low": round(promise.interval.low, 6),
            "high": round(promise.interval.high, 6),
            "known": promise.known,
            "parts": promise.parts,
            "since_ms": promise.broken_since_ms or test.since_ms,
        }
        # Where only the disk refused the entry of the audit, the event is out already.
        if self._reported.get((test.product, promise.name)) != (test.test, broken):
            words = " ".join(f"{key}={fact}" for key, fact in facts.items())
            log.warning("promise broken=%d %s", broken, words)
            events.event("promise", broken=int(broken), **facts)
            self._reported[test.product, promise.name] = test.test, broken
        self._journal.audit(BY, "promise_broken" if broken else "promise_alarm_ended", facts)
