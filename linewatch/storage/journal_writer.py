"""The journal stage: commit verdicts beside the record stage, so that none waits for a disk that hangs."""

import time
from collections import deque
from collections.abc import Callable
from threading import Condition
from types import TracebackType
from typing import Self

from linewatch.domain import Verdict
from linewatch.errors import StorageFull
from linewatch.runtime.stages import IDLE_S, Stage
from linewatch.storage.journal import PENDING_MAX, Journal

STALLED_S = 2.0  # A disk that has not answered for this long has failed.


class JournalWriter:
    """Hands verdicts to the journal, in order.

    `append`, `settled`, `amend` and `release` belong to the record stage; only `settled` waits, and no
    longer than it is allowed to. `run` is the journal stage. What is appended while a commit hangs is
    written in one transaction when the disk answers; at most PENDING_MAX verdicts wait, then the oldest
    are dropped, each with a warning. As a context manager it warns of what was never written.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        failed: Callable[[StorageFull], None],
        restored: Callable[[], None],
        warn: Callable[[str], None],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        """`failed` is called when the disk refuses or stops to answer, `restored` after each commit."""
        self._journal = journal
        self._failed, self._restored, self._warn = failed, restored, warn
        self._clock_s = clock_s
        self._changed = Condition()
        self._waiting: deque[Verdict] = deque()
        self._in_hand = 0  # How many of the oldest are being written.
        self._since_s: float | None = None  # Since when the journal has been at work, None while idle.
        self._handed = 0  # Seq of the newest verdict that the journal has had.
        self._final = 0  # Seq of the newest verdict that is final and published.
        self._released = 0
        self._reported = False  # Whether `failed` knows that the disk does not answer.
        self._closed = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._waiting:
            self._warn(f"{len(self._waiting)} verdicts are lost: the disk does not answer")

    def append(self, verdict: Verdict) -> None:
        """Queue one verdict for its commit."""
        with self._changed:
            self._add(verdict)

    def settled(self, timeout_s: float) -> bool:
        """Wait until everything queued is committed or refused; return whether it is.

        A refused verdict waits in the journal's memory. This does not wait for a disk that has already
        taken longer than there is time: the verdicts behind this one would only queue.
        """
        timeout_s = min(timeout_s, STALLED_S)
        with self._changed:
            if self._busy_s() > timeout_s:
                return False
            return self._changed.wait_for(lambda: not self._waiting, timeout_s)

    def amend(self, verdict: Verdict) -> None:
        """Replace the verdict appended last: before it is written, or else in its row."""
        with self._changed:
            if len(self._waiting) > self._in_hand:
                assert self._waiting[-1].seq == verdict.seq, verdict.seq
                self._waiting.pop()
            self._add(verdict)

    def release(self, _boot: int, seq: int) -> None:
        """Release every verdict up to this one to the history, once its row is as published."""
        with self._changed:
            self._final = seq
            self._changed.notify_all()

    def check(self) -> None:
        """Report a disk that has not answered for STALLED_S, once; call it a few times a second."""
        with self._changed:
            stalled, reported = self._busy_s() > STALLED_S, self._reported
            self._reported = stalled
        if stalled and not reported:
            hint = f"it has not answered for {STALLED_S:g} s; check the disk and what else writes to it"
            self._failed(StorageFull(self._journal.path, hint))

    def close(self) -> None:
        """Take no more; `run` ends once everything is written."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def run(self, stage: Stage) -> None:
        """Write what is queued, and release what is published, until `close`."""
        while True:
            with self._changed:
                self._changed.wait_for(self._is_due, IDLE_S)
                if self._closed and not self._waiting and not self._may_release():
                    return
                due = self._is_due()
            stage.beat()
            if due:
                self.step(stage)

    def step(self, stage: Stage) -> None:
        """Release what is published, then write everything that waits."""
        with self._changed:
            release = self._handed if self._may_release() else 0
            batch = tuple(self._waiting)
            self._in_hand, self._since_s = len(batch), self._clock_s()
        if release:
            self._journal.release(self._journal.boot, release)
        if batch:
            with stage.working():
                self._write(batch)
        with self._changed:
            self._released = max(self._released, release)
            for _ in batch:
                self._handed = self._waiting.popleft().seq
            self._in_hand, self._since_s = 0, None
            self._changed.notify_all()

    def _write(self, batch: tuple[Verdict, ...]) -> None:
        amends = len(batch) == 1 and batch[0].seq == self._handed
        write = self._journal.amend if amends else self._journal.append
        try:
            write(*batch)
        except StorageFull as trouble:
            self._failed(trouble)
        else:
            self._restored()

    def _add(self, verdict: Verdict) -> None:
        self._waiting.append(verdict)
        if len(self._waiting) - self._in_hand > PENDING_MAX:
            # Not the amendment of what is being written: that row would be kept as it was not published.
            oldest = self._in_hand + (self._in_hand > 0 and self._is_same(self._in_hand - 1, self._in_hand))
            lost = self._waiting[oldest]
            del self._waiting[oldest]
            self._warn(f"verdict {lost.boot}-{lost.seq} is lost: the disk has not answered for too long")
        self._changed.notify_all()

    def _is_same(self, one: int, other: int) -> bool:
        return self._waiting[one].seq == self._waiting[other].seq

    def _is_due(self) -> bool:
        return bool(self._waiting) or self._closed or self._may_release()

    def _may_release(self) -> bool:
        """Whether the newest verdict that the journal has had is final, and its row as published."""
        amended = bool(self._waiting) and self._waiting[0].seq <= self._handed
        return self._released < self._handed <= self._final and not amended

    def _busy_s(self) -> float:
        """Return for how long the disk has not answered."""
        return 0.0 if self._since_s is None else self._clock_s() - self._since_s
