"""Stages: the daemon's named threads, started and ended together.

The first failure ends all; a stage that spends too long on one item ends the process.
"""

import os
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, suppress
from typing import TypeVar

from linewatch.runtime.lane import Lane, LaneClosed

A = TypeVar("A")
B = TypeVar("B")

IDLE_S = 0.25
"""How often an idle stage shows progress."""


class StageStalled(RuntimeError):
    """A stage spent longer on one item than its limit, or did not end in time."""


class Heartbeat:
    """The progress of one stage; whatever reads it can be built before the stage."""

    def __init__(self) -> None:
        self.beats = 0
        self._since: float | None = None  # Monotonic start of the current item.

    def beat(self) -> None:
        """Count progress without an item."""
        self.beats += 1

    @contextmanager
    def working(self, observe: Callable[[float], None]) -> Iterator[None]:
        """Count one item; call `observe` with the seconds that it took."""
        self._since = started = time.monotonic()
        try:
            yield
        finally:
            self._since = None
            self.beats += 1
            observe(time.monotonic() - started)

    def busy_s(self) -> float:
        """Return how many seconds the current item has taken so far; 0.0 when idle."""
        since = self._since
        return 0.0 if since is None else time.monotonic() - since


class Stage:
    """One named thread's work and its progress.

    `run` gets this stage and calls `working()` around each item and `beat()` when idle. `observe` is
    called with the seconds that each item took. `stall_s` overrides the group's limit for one item.
    `niceness` is added to the thread's: positive values give way to the other stages.
    """

    def __init__(
        self,
        name: str,
        run: Callable[["Stage"], None],
        observe: Callable[[float], None] = lambda _: None,
        *,
        stall_s: float | None = None,
        heartbeat: Heartbeat | None = None,
        niceness: int = 0,
    ) -> None:
        self.name = name
        self.run = run
        self.stall_s = stall_s
        self.niceness = niceness
        self._observe = observe
        self._heartbeat = heartbeat or Heartbeat()

    @property
    def beats(self) -> int:
        """How often this stage has shown progress."""
        return self._heartbeat.beats

    def beat(self) -> None:
        """Count progress without an item."""
        self._heartbeat.beat()

    def working(self) -> AbstractContextManager[None]:
        """Time one item, for `observe` and `busy_s`."""
        return self._heartbeat.working(self._observe)

    def busy_s(self) -> float:
        """Return how many seconds the current item has taken so far; 0.0 when idle."""
        return self._heartbeat.busy_s()


def transform(stage: Stage, inlet: Lane[A], work: Callable[[A], Iterable[B]], outlet: Lane[B]) -> None:
    """Run `work` on everything that arrives and pass on what it yields, until the stream ends."""
    try:
        with outlet:
            for item in inlet.items(stage.beat, IDLE_S):
                with stage.working():
                    results = list(work(item))
                for result in results:
                    outlet.put(result)
    finally:
        inlet.abandon()


def consume(stage: Stage, inlet: Lane[A], work: Callable[[A], None]) -> None:
    """Run `work` on everything that arrives, until the stream ends."""
    try:
        for item in inlet.items(stage.beat, IDLE_S):
            with stage.working():
                work(item)
    finally:
        inlet.abandon()


class StageAborted(Exception):
    """Another stage failed: this one ends without an MQTT DISCONNECT, so that the broker sends the will."""


class StageGroup:
    """Run the line's stages and its services until the line ends or a stage fails.

    The line (capture to record) ends by draining; the services (deliver, live link, ...) run until it
    has drained, because they carry its last verdicts.
    """

    def __init__(
        self,
        line: Sequence[Stage],
        services: Sequence[Stage],
        *,
        stall_s: float,
        grace_s: float,
        failed: threading.Event | None = None,
    ) -> None:
        self.stages = (*line, *services)
        self._threads = {stage.name: self._thread(stage) for stage in self.stages}
        self._line = [self._threads[stage.name] for stage in line]
        self._services = [self._threads[stage.name] for stage in services]
        self._stall_s = stall_s
        self._grace_s = grace_s
        self._failures: list[BaseException] = []
        self._ended = threading.Event()
        self.failed = failed or threading.Event()  # A stage ended by an exception.

    def stalled(self) -> Stage | None:
        """Return a stage that has spent longer than its limit on one item; None if there is none."""
        limits = ((stage, stage.stall_s or self._stall_s) for stage in self.stages)
        return next((stage for stage, limit_s in limits if stage.busy_s() > limit_s), None)

    def run(
        self,
        stop: threading.Event,
        drained: threading.Event,
        *,
        hurry: threading.Event | None = None,
        alive: Callable[[], None] = lambda: None,
    ) -> None:
        """Start every stage, watch for stalls and join them.

        `alive` is called every 0.2 s while no stage is stalled. Once `stop` is set, or a stage has
        ended, the line drains; then `drained` is set and the services end. Each of the two has
        `grace_s` for it; once `hurry` is set, the services are not waited for. Raises the first
        failure, or StageStalled.
        """
        hurry = hurry or threading.Event()
        for thread in self._threads.values():
            thread.start()
        while not self._ended.wait(0.2) and not stop.is_set():
            self._watch(alive)
        # 1. The source stops exposing, also when a stage has failed.
        stop.set()
        # 2. The line drains. `hurry` does not apply to it: every captured frame gets its verdict.
        late = self._join(self._line, threading.Event(), alive)
        # 3. The services publish what is left and end.
        drained.set()
        busy = self._join(self._services, hurry, alive)
        # 4. The first failure is raised, or the stages that did not end.
        if self._failures:
            raise self._failures[0]
        if not hurry.is_set():
            late += busy
        if late:
            raise StageStalled(f"still running {self._grace_s:.0f} s after the stop: {', '.join(late)}")

    def _join(
        self, threads: Sequence[threading.Thread], hurry: threading.Event, alive: Callable[[], None]
    ) -> list[str]:
        """Wait for threads to end; return the names of those still running after the grace."""
        deadline = time.monotonic() + self._grace_s
        while running := [thread for thread in threads if thread.is_alive()]:
            self._watch(alive)
            if hurry.is_set() or time.monotonic() > deadline:
                return [thread.name for thread in running]
            running[0].join(0.05)
        return []

    def _watch(self, alive: Callable[[], None]) -> None:
        stuck = self.stalled()
        if stuck is not None:
            raise StageStalled(f"stage {stuck.name!r} holds one item for {stuck.busy_s():.1f} s")
        alive()

    def _thread(self, stage: Stage) -> threading.Thread:
        return threading.Thread(target=self._guard, args=(stage,), name=stage.name, daemon=True)

    def _guard(self, stage: Stage) -> None:
        _lower_priority(stage.niceness)
        try:
            stage.run(stage)
        except (LaneClosed, StageAborted):
            pass  # A neighbouring stage ended first; its failure is the one to report.
        except BaseException as error:  # noqa: BLE001 - the boundary: kept, and raised by run()
            self._failures.append(error)
            self.failed.set()
        finally:
            self._ended.set()


def _lower_priority(niceness: int) -> None:
    """Add `niceness` to that of the calling thread; Linux keeps one per thread."""
    thread = threading.get_native_id()
    with suppress(OSError):  # Some containers do not allow it.
        os.setpriority(os.PRIO_PROCESS, thread, os.getpriority(os.PRIO_PROCESS, thread) + niceness)
