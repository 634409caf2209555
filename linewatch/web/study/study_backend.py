"""Implements `Studies` on the station's journal and the folder of its studies."""

import hashlib
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, replace
from types import TracebackType
from typing import Self

from linewatch.capability import study as studies
from linewatch.capability.apart import is_installed, prospects_apart, result_apart, verify_apart
from linewatch.capability.shelf import Entry, Plan, ReferenceSet, Reported, Shelf
from linewatch.capability.study import KnownPart, Limits, Study, StudyError, Truth
from linewatch.capability.walk import hold_station, judge_next, look, newest
from linewatch.errors import LinewatchError
from linewatch.line.metrics import Metrics
from linewatch.line.station import Station
from linewatch.settings import Settings
from linewatch.storage.audit.reading import AuditConditions
from linewatch.storage.journal import Journal
from linewatch.web.cache import TimedCache
from linewatch.web.study.interface import NewStudy, Overview, PartsSet, Prospect, StudyState, Verified
from linewatch.web.study.views_backend import Running, now_ms, schedule_of, set_view, study_view

OVERDUE_FRESH_S = 30.0
WATCHED_S = 30.0  # By trigger count: without a page that shows the part, its verdict cannot be known.
STUDIES_MAX = 1000
PROSPECTS_MAX = 100
NO_SCIPY = "the package SciPy is missing, which a study needs; install it: pip install 'linewatch[study]'"
NO_LINE = "no line runs here, so that no part is judged; do the study at the station"

OnLine = Callable[[], tuple[str, str]]
"""Returns product and model of the line."""


class StudyBackend:
    """Thread-safe. The study that runs is the only state; after a restart every study is paused.

    `on_line` is None where no line runs.
    """

    def __init__(self, settings: Settings, journal: Journal, on_line: OnLine | None = None) -> None:
        self._settings = settings
        self._journal = journal
        self._reader = journal.reader()
        self._on_line = on_line
        self._shelf = Shelf(settings.study.path)
        self._lock = threading.RLock()
        self._finishing = threading.Lock()
        self._running: Running | None = None
        self._held = ExitStack()
        self._troubles: dict[str, str] = {}
        self._prospects: dict[tuple[int, int, Limits | None], tuple[Prospect, ...]] = {}
        self._overdue = TimedCache(self._find_overdue, OVERDUE_FRESH_S)

    @classmethod
    def beside(cls, settings: Settings, journal: Journal, station: Station, metrics: Metrics) -> Self:
        """Return the studies at a running line, whose metrics show when one is due."""

        def on_line() -> tuple[str, str]:
            now = station.snapshot()
            return now.product, now.model

        studies = cls(settings, journal, on_line)
        metrics.watch_studies(lambda: [schedule_of(kept) for kept in studies.sets()])
        return studies

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    # What the pages show

    def overview(self) -> Overview:
        """Return all studies and sets."""
        with self._lock:
            entries = self._shelf.entries()
            sets, troubles = self._shelf.sets()
            return Overview(
                studies=tuple(self._view(one) for one in entries),
                sets=tuple(map(set_view, sets)),
                troubles=tuple(troubles),
                unavailable=self._unavailable(),
                running=self._running.name if self._running else "",
            )

    def state(self, name: str) -> StudyState | None:
        """Return one study; None if there is none of that name."""
        with self._lock:
            entry = self._shelf.entry(name)
            return self._view(entry) if entry else None

    def read_parts(self, text: str) -> tuple[tuple[str, Truth], ...]:
        """Return the parts in CSV text. Raises StudyError."""
        return tuple((one.part, one.truth) for one in studies.parse_parts(text, "the list of parts"))

    def prospects(self, name: str) -> Sequence[Prospect]:
        """Return what the parts of a study can prove. Raises LinewatchError."""
        study = self._study(name)
        good = sum(one.truth == "good" for one in study.parts)
        key = good, len(study.parts) - good, study.limits
        if key not in self._prospects:
            self._require_scipy()
            found = [Prospect(**(one | {"needed": tuple(one["needed"])})) for one in prospects_apart(*key)]
            if len(self._prospects) >= PROSPECTS_MAX:
                self._prospects.clear()
            self._prospects[key] = tuple(found)
        return self._prospects[key]

    def result(self, name: str) -> bytes | None:
        """Return the page of a result, None if there is none."""
        with self._lock:
            entry = self._shelf.entry(name)
        return self._shelf.page(name).read_bytes() if entry and entry.reported else None

    def overdue(self) -> Sequence[PartsSet]:
        """Return the sets whose next study should have been done, at most half a minute old."""
        return self._overdue.get()

    def sets(self) -> list[ReferenceSet]:
        """Return the sets that can be read, for the metrics."""
        with self._lock:
            return self._shelf.sets()[0]

    # What an engineer does

    def plan(self, new: NewStudy, by: str) -> str:
        """Draw the order of a new study and return its name. Raises StudyError, StorageFull."""
        parts = [KnownPart(*one) for one in new.parts] or studies.numbered_parts(new.good, new.defective)
        limits = Limits(**asdict(new.rates)) if new.rates else None
        study = self._drawn(parts, new.product, new.passes, new.by, new.people or (by,), limits, new.keep_as)
        with self._lock:
            self._require_room()
            if new.keep_as:
                kept = Plan(new.product, new.passes, new.by, new.every_days, now_ms(), limits)
                self._shelf.keep(new.keep_as, kept, parts)
                self._audit(by, "study_set_kept", new.product, set=new.keep_as, every_days=new.every_days)
            return self._shelf.add(study)

    def plan_again(self, parts_set: str, people: tuple[str, ...], by: str) -> str:
        """Plan a study of a set's parts in a newly drawn order. Raises StudyError, StorageFull."""
        with self._lock:
            kept = self._set(parts_set)
            self._require_room()
            plan = kept.plan
            facts = plan.product, plan.passes, plan.by, people or (by,), plan.limits, parts_set
            return self._shelf.add(self._drawn(kept.parts, *facts))

    def go_on(self, name: str, by: str) -> None:
        """Wait for the verdict on the next part from now on. Raises LinewatchError."""
        with self._lock:
            study = self._study(name)
            if study.complete:
                raise StudyError("the study is complete")
            if self._running and self._running.name == name:
                return
            if trouble := self._unavailable():
                raise StudyError(trouble)
            self._require_same_line(study)
            held = ExitStack()
            held.enter_context(hold_station(self._settings))
            with held:
                place = newest(self._reader)
                action = "study_continued" if study.judged else "study_begun"
                self._audit(
                    by, action, study.product, study=name, parts=len(study.parts), passes=study.passes
                )
                self._held = held.pop_all()
            self._troubles.pop(name, None)
            self._running = Running(name, place, time.monotonic())

    def look(self, name: str, by: str) -> None:
        """Take up the verdict on the part asked for; write the result of a complete study.

        Raises LinewatchError if the result cannot be written, for now.
        """
        with self._lock:
            if self._running is not None and self._running.name == name:
                self._take_up(self._running)
            entry = self._shelf.entry(name)
        if entry and entry.study and entry.study.complete and not entry.reported:
            self._finish(name, entry.study, by)

    def pause(self, name: str, by: str) -> None:
        """Take up no more verdicts. Raises StudyError."""
        with self._lock:
            if self._running is None or self._running.name != name:
                raise StudyError("the study is not running")
            self._stop()
            self._audit(by, "study_paused", self._study(name).product, study=name)

    def skip(self, name: str, by: str) -> None:
        """Put the next part off to the end of its pass. Raises StudyError, StorageFull."""
        with self._lock:
            study = self._study(name)
            after = study.put_off()
            part = study.next_step[1] if study.next_step else ""
            self._audit(by, "study_part_put_off", study.product, study=name, part=part)
            self._replace(name, after)

    def undo(self, name: str, by: str) -> None:
        """Take the last verdict back; its part is asked for again. Raises StudyError, StorageFull."""
        with self._lock:
            study = self._study(name)
            after = study.without_last()
            last = after.withdrawn[-1]
            facts = {"part": last.part, "result": last.result, "boot": last.boot, "seq": last.seq}
            self._audit(by, "study_verdict_withdrawn", study.product, study=name, **facts)
            self._replace(name, after)

    def discard(self, name: str, by: str) -> None:
        """Delete a study without verdicts. Raises StudyError, StorageFull."""
        with self._lock:
            study = self._study(name)
            if study.judged or study.withdrawn or study.not_judged:
                raise StudyError("the study has verdicts already, so that it stays; leave it as it is")
            if self._running and self._running.name == name:
                self._stop()
            self._shelf.remove(name)
            self._audit(by, "study_discarded", study.product, study=name)

    def schedule(self, parts_set: str, every_days: int, by: str) -> None:
        """Set how often a set is studied. Raises StudyError, StorageFull."""
        with self._lock:
            kept = self._set(parts_set)
            self._shelf.keep(parts_set, replace(kept.plan, every_days=every_days), kept.parts)
            self._audit(by, "study_set_scheduled", kept.plan.product, set=parts_set, every_days=every_days)
            self._overdue = TimedCache(self._find_overdue, OVERDUE_FRESH_S)

    def forget(self, parts_set: str, by: str) -> None:
        """Delete a set; its studies stay. Raises StudyError, StorageFull."""
        with self._lock:
            kept = self._set(parts_set)
            self._shelf.forget(parts_set)
            self._audit(by, "study_set_removed", kept.plan.product, set=parts_set, parts=len(kept.parts))
            self._overdue = TimedCache(self._find_overdue, OVERDUE_FRESH_S)

    def verify(self, page: bytes) -> Verified:
        """Return whether an uploaded result is as it was written, and whether here. Raises LinewatchError."""
        hashed = hashlib.sha256(page).hexdigest()
        for act in self._reader.audit_entries(AuditConditions(action="study_reported")):
            if act.facts.get("page_sha256") == hashed:
                sha256 = str(act.facts.get("sha256", ""))
                return Verified(True, True, "", act.product, sha256, act.at_ms, act.who)
        self._require_scipy()
        try:
            study, sha256 = verify_apart(page.decode("utf-8", "replace"))
        except StudyError as trouble:
            return Verified(False, False, str(trouble))
        return Verified(True, False, "", study.product, sha256)

    def close(self) -> None:
        """Let another study run at this station."""
        with self._lock:
            self._stop()

    # How it works

    def _take_up(self, running: Running) -> None:
        """Apply the verdict on the part asked for; what is refused pauses the study with its sentence."""
        study = self._study(running.name)
        waited_s = time.monotonic() - running.watched_s
        running.watched_s = time.monotonic()
        if study.by == "count" and waited_s > WATCHED_S:
            self._stop(
                f"the page was not open for {waited_s:.0f} s, so that a verdict may be that of another part; "
                "continue and present the part asked for"
            )
            return
        seen = look(self._reader, study, running.after)
        running.after = seen.until
        running.other = seen.other or running.other
        if seen.verdict is None:
            return
        try:
            after = judge_next(study, seen.verdict, self._settings)
        except LinewatchError as trouble:
            self._stop(str(trouble))
            return
        again = len(after.judged) == len(study.judged)
        running.other, running.again = "", seen.verdict.reason if again else None
        self._shelf.save(running.name, after)
        if after.complete:
            self._stop()

    def _finish(self, name: str, study: Study, by: str) -> None:
        """Write the result and its hash to the audit; returns at once while another request does."""
        if not self._finishing.acquire(blocking=False):
            return
        try:
            self._require_scipy()
            result = result_apart(study)
            page = hashlib.sha256(result.html.encode()).hexdigest()
            facts = {"study": name, "sha256": result.sha256, "page_sha256": page, "outcome": result.outcome}
            self._audit(by, "study_reported", study.product, **facts)
            reported = Reported(result.sha256, page, result.outcome, now_ms(), by, result.figures)
            with self._lock:
                self._shelf.report(name, result, reported)
                self._overdue = TimedCache(self._find_overdue, OVERDUE_FRESH_S)
        finally:
            self._finishing.release()

    def _replace(self, name: str, study: Study) -> None:
        """Write a changed study, and wait for its part from now on if it runs."""
        self._shelf.save(name, study)
        if self._running and self._running.name == name:
            self._running = Running(name, newest(self._reader), time.monotonic())

    def _stop(self, trouble: str = "") -> None:
        if self._running and trouble:
            self._troubles[self._running.name] = trouble
        self._running = None
        self._held.close()

    def _view(self, entry: Entry) -> StudyState:
        running = self._running if self._running and self._running.name == entry.name else None
        return study_view(entry, running, self._troubles.get(entry.name, ""))

    def _study(self, name: str) -> Study:
        entry = self._shelf.entry(name)
        if entry is None or entry.study is None:
            raise StudyError(entry.trouble if entry else f"there is no study {name!r}")
        return entry.study

    def _set(self, name: str) -> ReferenceSet:
        found = next((one for one in self._shelf.sets()[0] if one.name == name), None)
        if found is None:
            raise StudyError(f"there is no set of parts {name!r} that can be read")
        return found

    def _find_overdue(self) -> tuple[PartsSet, ...]:
        with self._lock:
            return tuple(found for found in map(set_view, self._shelf.sets()[0]) if found.overdue)

    def _drawn(
        self,
        parts: Sequence[KnownPart],
        product: str,
        passes: int,
        by: studies.By,
        people: tuple[str, ...],
        limits: Limits | None,
        reference: str,
    ) -> Study:
        if by == "count" and self._settings.trigger.mode == "free" and not self._settings.hardware_triggered:
            raise StudyError(
                'frames are taken without a trigger (trigger.mode = "free"), so that the next verdict need '
                "not be that of the part; study by part id, or trigger each part"
            )
        drawn = time.time_ns()
        how = {"product": product, "passes": passes, "people": people, "seed": drawn}
        return studies.plan(parts, by=by, limits=limits, reference=reference, **how)  # type: ignore[arg-type]

    def _require_same_line(self, study: Study) -> None:
        assert self._on_line is not None
        product, model = self._on_line()
        if product != study.product:
            raise StudyError(
                f"the station inspects {product!r}, the study is of {study.product!r}; change it over"
            )
        began = study.judged[0].model if study.judged else model
        if model != began:
            raise StudyError(
                f"the station judges with model {model}, the study began with {began}; activate that one "
                "again, or plan a new study"
            )

    def _require_room(self) -> None:
        if len(self._shelf.entries()) >= STUDIES_MAX:
            raise StudyError(
                f"there are {STUDIES_MAX} studies in {str(self._shelf.root)!r}; move the oldest elsewhere"
            )

    def _unavailable(self) -> str:
        if self._on_line is None:
            return NO_LINE
        return "" if is_installed() else NO_SCIPY

    @staticmethod
    def _require_scipy() -> None:
        if not is_installed():
            raise StudyError(NO_SCIPY)

    def _audit(self, by: str, action: str, product: str, **facts: object) -> None:
        self._journal.audit(by, action, {"product": product, **facts})
