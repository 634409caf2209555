"""What the station is doing, in one place: stages report facts, everyone else reads snapshots."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from linewatch.domain import Result, Standing, State, Verdict
from linewatch.errors import StorageFull
from linewatch.line.metrics import Metrics
from linewatch.runtime.wakeup import Wakeup

log = logging.getLogger(__name__)

NOT_OPENED = "the source is not opened yet"
UNFIT_S = 1.0  # Without a fit picture for this long, the camera is in trouble and not just one part.
PAUSED_REASON = "paused by command"
REPEAT_S = 60.0  # While the disk refuses, each part may be one more lost verdict.
UNTOLD_MAX = 16  # The oldest go first; the log has them all.
EVENTS_MAX = 256  # Kept while the broker is away; the oldest go first, the log has them all.


@dataclass(frozen=True, slots=True, kw_only=True)
class Snapshot:
    """The station at one moment. Troubles are sentences for people, "" when there is none."""

    station: str
    boot: int
    product: str
    product_index: int = 0
    model: str = ""
    mode: State = State.STARTING  # What the daemon intends: the state without troubles.
    mode_reason: str = ""
    judging_since_s: float = 0.0  # Monotonic: no part exposed before may earn a PASS.
    camera_trouble: str = NOT_OPENED
    picture_trouble: str = ""  # Frozen, dark, over-exposed or blurred.
    unfit: int = 0  # So many pictures in a row, while there is picture trouble.
    impairments: dict[str, str] = field(default_factory=dict)  # "journal", "recipe", ...: why.
    selftest_passed: bool = False
    last_seq: int = 0
    last_result: Result | None = None
    started_s: float = 0.0  # Monotonic.
    rebirths: int = 0  # How often somebody asked to hear everything again.

    @property
    def standing(self) -> Standing:
        """What a part must have been judged by, and exposed after, to pass now."""
        since_ns = math.ceil(1e9 * self.judging_since_s) if self.mode is State.READY else None
        return Standing(self.product, self.model, since_ns)

    @property
    def state(self) -> State:
        """The state that PLC, page and metrics see."""
        if self.mode is not State.READY:
            return self.mode
        if self.camera_trouble:
            return State.STARTING if self.camera_trouble == NOT_OPENED else State.FAULT
        if self.unfit > 1:  # One alone may be the part's fault; then the line goes on.
            return State.FAULT
        return State.DEGRADED if self.impairments or self.picture_trouble else State.READY

    @property
    def reasons(self) -> list[str]:
        """Why the state is not READY, most serious first; [] when it is."""
        troubles = [
            self.mode_reason,
            self.camera_trouble,
            self.picture_trouble,
            *self.impairments.values(),
        ]
        return [trouble for trouble in troubles if trouble] if self.state is not State.READY else []

    @property
    def uptime_s(self) -> int:
        """Whole seconds since start."""
        return int(time.monotonic() - self.started_s)


@dataclass(frozen=True, slots=True)
class _Unfit:
    """Pictures in a row that could not be judged."""

    since_s: float  # Monotonic.
    count: int
    fault: str  # Of the newest.


class Station:
    """The mutable facts behind the snapshots; every method may be called from any thread.

    Edges (a camera lost, a disk back) are logged once and become events.
    `changed` is set whenever something happened that the PLC should hear at once.
    """

    def __init__(
        self,
        name: str,
        boot: int,
        product: str,
        metrics: Metrics,
        *,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self.changed = Wakeup()
        self.events: deque[dict[str, object]] = deque(maxlen=EVENTS_MAX)
        self._metrics = metrics
        self._lock = threading.Lock()
        self._steady = threading.Lock()
        self._clock_s = clock_s
        self._awaited = 0  # Changeovers that were asked for and have not begun.
        self._paused = False  # Outlives changeovers and self-tests.
        self._unfit: _Unfit | None = None  # The pictures since the last fit one.
        self._now = Snapshot(station=name, boot=boot, product=product, started_s=time.monotonic())

    def snapshot(self) -> Snapshot:
        """Return the station as it is now."""
        return self._now  # One reference to a frozen value: no lock needed to read it.

    @contextmanager
    def unchanged(self) -> Iterator[Snapshot]:
        """Hold mode, product and model still: who wants to change them waits until the block is left."""
        with self._steady:
            yield self._now

    def intend(self, mode: State, reason: str = "") -> None:
        """Enter a mode: READY means ready unless camera, disk or broker say otherwise, or it is paused.

        STOPPED is final, and while a changeover is awaited nothing else is entered.
        """
        with self._steady, self._lock:
            changing = self._awaited > 0 and mode is not State.STOPPED
            if self._paused and mode is State.READY:
                mode, reason = State.PAUSED, PAUSED_REASON
            if self._now.mode is not State.STOPPED and not changing:
                begins = mode is State.READY and self._now.mode is not State.READY
                since_s = self._clock_s() if begins else self._now.judging_since_s
                self._replace(mode=mode, mode_reason=reason, judging_since_s=since_s)

    def pause(self) -> None:
        """Let no part pass until `resume`, whatever changes or is tested meanwhile."""
        self._paused = True
        self.intend(State.READY)

    def resume(self) -> None:
        """End a pause."""
        self._paused = False
        self.intend(State.READY)

    def await_change(self, product: str) -> None:
        """Enter CHANGEOVER at once; what is still done before it cannot lead back to READY."""
        with self._steady, self._lock:
            self._awaited += 1
            if self._now.mode is not State.STOPPED:
                self._replace(mode=State.CHANGEOVER, mode_reason=f"changing to product {product}")

    def change_begins(self) -> None:
        """Let the awaited changeover itself say what comes next."""
        with self._steady, self._lock:
            self._awaited -= 1

    def use(self, product: str, index: int, model: str) -> None:
        """Name the product and the model that judge from now on."""
        with self._steady, self._lock:
            self._replace(product=product, product_index=index, model=model)
        self.forgive_pictures()  # They were measured against another product's.

    def tested(self, passed: bool) -> None:
        """Keep how the last self-test ended."""
        with self._lock:
            self._replace(selftest_passed=passed)

    def camera_lost(self, why: str) -> None:
        """Nothing can be judged until `camera_back`."""
        with self._lock:
            first = self._now.camera_trouble in ("", NOT_OPENED)
            self._replace(camera_trouble=why)
        self._metrics.camera_up.set(0)
        if first:
            log.warning("camera_lost reason=%r", why)
            self.event("camera_lost", reason=why)

    def camera_back(self, silent_s: float) -> None:
        """Frames come again, or for the first time."""
        with self._lock:
            was_lost = self._now.camera_trouble not in ("", NOT_OPENED)
            self._replace(camera_trouble="")
        self._metrics.camera_up.set(1)
        if was_lost:
            self._metrics.camera_reconnects.inc()
            log.info("camera_back after_s=%.1f", silent_s)
            self.event("camera_back", after_s=round(silent_s, 1))

    def picture(self, fault: str) -> None:
        """Take note of an examined picture: what is wrong with it, "" if it can be judged."""
        if not fault:
            if self._unfit is not None:
                self.forgive_pictures()
            return
        with self._lock:
            before = self._unfit
            since_s = before.since_s if before else self._clock_s()
            self._unfit = _Unfit(since_s, before.count + 1 if before else 1, fault)
            if self._now.picture_trouble:
                self._replace(unfit=self._unfit.count)

    def watch_pictures(self) -> None:
        """Say that pictures are unfit once none was fit for 1 s; call it a few times a second."""
        with self._lock:
            unfit = self._unfit
            if unfit is None or self._now.picture_trouble or self._clock_s() - unfit.since_s < UNFIT_S:
                return
            self._replace(picture_trouble=unfit.fault, unfit=unfit.count)
        log.warning("pictures_unfit reason=%r", unfit.fault)
        self.event("pictures_unfit", reason=unfit.fault)

    def forgive_pictures(self) -> None:
        """Forget unfit pictures: the last one was fit, or what came before does not count any more."""
        with self._lock:
            unfit, told = self._unfit, self._now.picture_trouble
            self._unfit = None
            if told:
                self._replace(picture_trouble="", unfit=0)
        if unfit is not None and told:
            after_s = self._clock_s() - unfit.since_s
            log.info("pictures_fit after_s=%.1f", after_s)
            self.event("pictures_fit", after_s=round(after_s, 1))

    def impaired(self, part: str, why: str) -> None:
        """Report trouble with "journal", "evidence", "broker" or "recipe": the line goes on, DEGRADED."""
        with self._lock:
            first = part not in self._now.impairments
            if self._now.impairments.get(part) != why:
                self._replace(impairments={**self._now.impairments, part: why})
        if first:
            log.warning("impaired part=%s reason=%r", part, why)
            self.event(f"{part}_impaired", reason=why)

    def storage_failed(self, part: str, trouble: StorageFull) -> None:
        """Report that the disk refused the "journal" or the "evidence"."""
        first = part not in self._now.impairments
        self.impaired(part, str(trouble))
        if first and trouble.no_room:
            self.event("disk_full", part=part, reason=str(trouble))

    def restored(self, part: str) -> None:
        """Take back what `impaired` reported."""
        if part not in self._now.impairments:
            return
        with self._lock:
            self._replace(impairments={k: v for k, v in self._now.impairments.items() if k != part})
        log.info("restored part=%s", part)
        self.event(f"{part}_restored")

    def set_impairment(self, part: str, why: str) -> None:
        """Report an impairment with its reason, or take it back with ""."""
        if why:
            self.impaired(part, why)
        else:
            self.restored(part)

    def delivered(self, verdict: Verdict) -> None:
        """Keep the last verdict, for the status word."""
        with self._lock:
            self._now = replace(self._now, last_seq=verdict.seq, last_result=verdict.result)
        self.changed.set()

    def reborn(self) -> None:
        """Say everything again: somebody new is listening."""
        with self._lock:
            self._replace(rebirths=self._now.rebirths + 1)

    def event(self, name: str, **facts: object) -> None:
        """Queue one event for `B/event`."""
        now = self._now
        self.events.append(
            {
                "v": 1,
                "station": now.station,
                "boot": now.boot,
                "event": name,
                "ms": time.time_ns() // 1_000_000,
                **facts,
            }
        )
        self.changed.set()

    def _replace(self, **changes: object) -> None:
        before = self._now.state
        self._now = replace(self._now, **changes)  # type: ignore[arg-type]  # names are checked at run time
        after = self._now.state
        if after is not before:
            self._metrics.set_state(after)
            log.info("state from=%s to=%s reason=%r", before, after, "; ".join(self._now.reasons))
        self.changed.set()


class JournalWarnings:
    """Sentences that wait to become events `journal_damaged`; any thread may add one, one other tells them.

    Of each kind (the journal was damaged, a verdict is lost) at most one a minute is told.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._untold: deque[str] = deque(maxlen=UNTOLD_MAX)
        self._told_s: dict[str, float] = {}  # Kind -> when.
        self._clock_s = clock_s

    def add(self, sentence: str) -> None:
        """Take one sentence, also before there is a station."""
        log.warning("journal_damaged reason=%r", sentence)
        self._untold.append(sentence)

    def tell(self, station: Station) -> None:
        """Make events of what was added since the last call."""
        now_s = self._clock_s()
        while self._untold:
            sentence = self._untold.popleft()
            kind = sentence.partition(" ")[0]
            if now_s - self._told_s.get(kind, -math.inf) >= REPEAT_S:
                self._told_s[kind] = now_s
                station.event("journal_damaged", reason=sentence)
