"""The station's current state: stages report facts, everything else reads snapshots."""

import logging
import math
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager, nullcontext

from linewatch.domain import State, Verdict
from linewatch.errors import StorageFull
from linewatch.line.metrics import Metrics
from linewatch.line.snapshot import (
    NOT_OPENED,
    CameraDelivers,
    CameraSilent,
    ChangeBegun,
    ChangeRequested,
    ChangesStanding,
    Fact,
    ImageExamined,
    ImagesChecked,
    ImagesForgiven,
    Impaired,
    ModeIntended,
    PauseEnded,
    PauseRequested,
    ProductUsed,
    RebirthRequested,
    Restored,
    SelfTestEnded,
    Snapshot,
    VerdictPublished,
    next_snapshot,
)
from linewatch.runtime.wakeup import Wakeup
from linewatch.storage.states import StateChange

log = logging.getLogger(__name__)

REPEAT_S = 60.0  # While the disk refuses, each part may be one more lost verdict.
WAITING_MAX = 16  # When full, the oldest are dropped; the log has them all.
EVENTS_MAX = 256  # Kept while the broker is away; when full, the oldest are dropped. The log has them all.


class Station:
    """Holds the current snapshot and applies facts to it; every method may be called from any thread.

    Changes (a camera lost, a disk back) are logged once and become events. `changed` is set
    whenever there is something new for the PLC.
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
        self.states: deque[StateChange] = deque(maxlen=EVENTS_MAX)  # For the journal.
        self._metrics = metrics
        self._lock = threading.Lock()
        self._publishing = threading.Lock()
        self._clock_s = clock_s
        self._now = Snapshot(station=name, boot=boot, product=product, started_s=time.monotonic())
        self._keep_state(self._now)

    def snapshot(self) -> Snapshot:
        """Return the station as it is now."""
        return self._now  # One reference to a frozen value: no lock needed to read it.

    @contextmanager
    def unchanged(self) -> Iterator[Snapshot]:
        """Hold mode, product and model; a thread that changes them waits until the block ends."""
        with self._publishing:
            yield self._now

    def intend(self, mode: State, reason: str = "") -> None:
        """Enter a mode: READY means ready unless camera, disk or broker say otherwise, or it is paused.

        STOPPED is final, and while a changeover is awaited nothing else is entered.
        """
        self._apply(ModeIntended(mode, reason))

    def pause(self) -> None:
        """Let no part pass until `resume`, whatever is changed or tested meanwhile."""
        self._apply(PauseRequested())

    def resume(self) -> None:
        """End a pause."""
        self._apply(PauseEnded())

    def await_change(self, product: str) -> None:
        """Enter CHANGEOVER at once; what still runs before the changeover cannot lead back to READY."""
        self._apply(ChangeRequested(product))

    def change_begins(self) -> None:
        """Let the awaited changeover set the mode from now on."""
        self._apply(ChangeBegun())

    def use(self, product: str, index: int, model: str, digest: str = "") -> None:
        """Name the product and the model that judge from now on, with the SHA-256 of its manifest."""
        before, after = self._apply(ProductUsed(product, index, model, digest))
        self._report_images(before, after)

    def tested(self, passed: bool) -> None:
        """Keep the outcome of the last self-test."""
        self._apply(SelfTestEnded(passed))

    def camera_lost(self, why: str) -> None:
        """Stop judging until `camera_back`."""
        before, _ = self._apply(CameraSilent(why))
        self._metrics.camera_up.set(0)
        if before.camera_trouble in ("", NOT_OPENED):
            log.warning("camera_lost reason=%r", why)
            self.event("camera_lost", reason=why)

    def camera_back(self, silent_s: float) -> None:
        """Note that frames arrive, for the first time or again after `silent_s`."""
        before, _ = self._apply(CameraDelivers())
        self._metrics.camera_up.set(1)
        if before.camera_trouble not in ("", NOT_OPENED):
            self._metrics.camera_reconnects.inc()
            log.info("camera_back after_s=%.1f", silent_s)
            self.event("camera_back", after_s=round(silent_s, 1))

    def image_examined(self, fault: str) -> None:
        """Note what is wrong with an image, "" if it can be judged."""
        if fault or self._now.unfit is not None:
            before, after = self._apply(ImageExamined(fault))
            self._report_images(before, after)

    def check_images(self) -> None:
        """Report unfit images once none was fit for 1 s; call it a few times a second."""
        before, after = self._apply(ImagesChecked())
        self._report_images(before, after)

    def forgive_images(self) -> None:
        """Forget unfit images: what came before no longer counts."""
        before, after = self._apply(ImagesForgiven())
        self._report_images(before, after)

    def impaired(self, part: str, why: str) -> None:
        """Report trouble with "journal", "evidence", "broker" or "recipe": the line goes on, DEGRADED."""
        before, _ = self._apply(Impaired(part, why))
        if part not in before.impairments:
            log.warning("impaired part=%s reason=%r", part, why)
            self.event(f"{part}_impaired", reason=why)

    def storage_failed(self, part: str, trouble: StorageFull) -> None:
        """Report that the disk refused the "journal" or the "evidence"."""
        first = part not in self._now.impairments
        self.impaired(part, str(trouble))
        if first and trouble.no_room:
            self.event("disk_full", part=part, reason=str(trouble))

    def restored(self, part: str) -> None:
        """End an impairment; does nothing if there is none."""
        if part not in self._now.impairments:  # The usual case for every part: not worth the lock.
            return
        before, _ = self._apply(Restored(part))
        if part in before.impairments:
            log.info("restored part=%s", part)
            self.event(f"{part}_restored")

    def set_impairment(self, part: str, why: str) -> None:
        """Report an impairment with its reason, or end it with ""."""
        if why:
            self.impaired(part, why)
        else:
            self.restored(part)

    def delivered(self, verdict: Verdict) -> None:
        """Keep the last verdict, for the status word."""
        self._apply(VerdictPublished(verdict.seq, verdict.result))

    def reborn(self) -> None:
        """Have everything published again for a new subscriber."""
        self._apply(RebirthRequested())

    def event(self, name: str, **facts: object) -> None:
        """Queue one event for `B/event`."""
        now = self._now
        head = {
            "v": 1,
            "station": now.station,
            "boot": now.boot,
            "event": name,
            "ms": time.time_ns() // 1_000_000,
        }
        assert not head.keys() & facts.keys(), f"{name}: {facts}"
        self.events.append(head | facts)
        self.changed.set()

    def _apply(self, fact: Fact) -> tuple[Snapshot, Snapshot]:
        """Apply one fact; return the snapshots before and after it."""
        with self._publishing if isinstance(fact, ChangesStanding) else nullcontext(), self._lock:
            before = self._now
            self._now = after = next_snapshot(before, fact, self._clock_s())
            if after.state is not before.state or after.product != before.product:
                self._keep_state(after)
            if after.state is not before.state:
                self._metrics.set_state(after.state)
                log.info("state from=%s to=%s reason=%r", before.state, after.state, "; ".join(after.reasons))
            if after is not before:
                self.changed.set()
        return before, after

    def _keep_state(self, now: Snapshot) -> None:
        at_ms, reasons = time.time_ns() // 1_000_000, "; ".join(now.reasons)
        self.states.append(StateChange(at_ms, now.state, now.product, reasons))

    def _report_images(self, before: Snapshot, after: Snapshot) -> None:
        if after.image_trouble and not before.image_trouble:
            log.warning("pictures_unfit reason=%r", after.image_trouble)
            self.event("pictures_unfit", reason=after.image_trouble)
        elif before.image_trouble and before.unfit and not after.image_trouble:
            after_s = self._clock_s() - before.unfit.since_s
            log.info("pictures_fit after_s=%.1f", after_s)
            self.event("pictures_fit", after_s=round(after_s, 1))


class JournalWarnings:
    """Warnings that wait to become `journal_damaged` events, at most one a minute of each kind.

    The first word of a warning is its kind. Any thread may `add`; one thread calls `publish`.
    """

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._waiting: deque[str] = deque(maxlen=WAITING_MAX)
        self._published_s: dict[str, float] = {}  # By kind.
        self._clock_s = clock_s

    def add(self, warning: str) -> None:
        """Log one sentence and keep it for `publish`; works before there is a station."""
        log.warning("journal_damaged reason=%r", warning)
        self._waiting.append(warning)

    def publish(self, station: Station) -> None:
        """Make events of the warnings added since the last call."""
        now_s = self._clock_s()
        while self._waiting:
            warning = self._waiting.popleft()
            kind = warning.partition(" ")[0]
            if now_s - self._published_s.get(kind, -math.inf) >= REPEAT_S:
                self._published_s[kind] = now_s
                station.event("journal_damaged", reason=warning)
