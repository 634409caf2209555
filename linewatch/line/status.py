"""The station's announcements: the state for people and the status word for the PLC."""

import threading
import time
from collections.abc import Callable

from linewatch.line.snapshot import Snapshot
from linewatch.mqtt.live import Announcement
from linewatch.mqtt.messages import StateFacts, status_word

HEARTBEAT_S = 0.5


class Announcer:
    """Build announcements, with a heartbeat that advances only while the judging stage makes progress.

    `beats` returns that stage's heartbeat count: if the stage hangs, so does the PLC's heartbeat, although
    the network thread goes on. Any thread may call it: at one moment all adapters read the same.
    """

    def __init__(
        self,
        snapshot: Callable[[], Snapshot],
        *,
        outbox: Callable[[], int],
        beats: Callable[[], int],
        busy: Callable[[], bool],
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._snapshot = snapshot
        self._outbox = outbox
        self._beats = beats
        self._busy = busy
        self._clock_s = clock_s
        self._beating = threading.Lock()
        self._heartbeat = 0
        self._beats_seen = -1
        self._beat_due_s = 0.0

    def announce(self) -> Announcement:
        """Return the present state and status word."""
        now = self._snapshot()
        facts = facts_of(now, self._outbox())
        word = status_word(
            now.state,
            busy=self._busy(),
            last_result=now.last_result,
            last_seq=now.last_seq,
            selftest_passed=now.selftest_passed,
            heartbeat=self._beat(),
        )
        return Announcement(facts, word)

    def _beat(self) -> int:
        """Return the heartbeat; it advances every 0.5 s if the judging stage made progress."""
        with self._beating:
            now_s, beats = self._clock_s(), self._beats()
            if now_s >= self._beat_due_s and beats != self._beats_seen:
                self._heartbeat = (self._heartbeat + 1) % 16
                self._beats_seen = beats
                # The caller wakes early or late; the average pace stays.
                self._beat_due_s = max(self._beat_due_s + HEARTBEAT_S, now_s + HEARTBEAT_S / 2)
            return self._heartbeat


def facts_of(now: Snapshot, outbox: int) -> StateFacts:
    """Return what `B/state` says of a snapshot; `outbox` verdicts are not in the history yet."""
    return StateFacts(
        station=now.station,
        boot=now.boot,
        state=now.state,
        reason="; ".join(now.reasons),
        product=now.product,
        product_index=now.product_index,
        model=now.model,
        model_sha256=now.model_digest,
        camera=not (now.camera_trouble or now.image_trouble),
        disk=not now.impairments.keys() & {"journal", "evidence"},
        outbox=outbox,
        last_seq=now.last_seq,
        uptime_s=now.uptime_s,
        rebirths=now.rebirths,
    )
