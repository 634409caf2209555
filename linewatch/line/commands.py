"""Commands of PLC and page: run one after the other, answered when they have taken effect."""

import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from threading import Lock, Timer
from types import TracebackType
from typing import Protocol, Self

from linewatch.acquisition.triggers import TriggerRequest
from linewatch.domain import Answer, ReplyCode, State
from linewatch.errors import PrepareTimeout, RecipeError, StorageFull
from linewatch.line.changeover import Audit
from linewatch.line.metrics import Metrics
from linewatch.line.station import Station
from linewatch.mqtt.command_parsing import parse_command
from linewatch.mqtt.messages import Command, Incoming, InvalidCommand, reply_json
from linewatch.runtime.lane import Lane
from linewatch.runtime.stages import Stage, consume

log = logging.getLogger(__name__)

REPLIES_S = 60.0  # A repeated rid within this time gets the stored reply.
REPLIES_MAX = 10_000  # From about 160 commands a second on, the oldest are dropped sooner.
CHANGE_S = 20.0  # Then the changeover is answered as failed, and stays failed.
SPAN_MS_MAX = 10**11  # Below this `exp_ms` is a span from arrival, above it a point in UTC.


class Changing(Protocol):
    """Brings products into use; the changeover."""

    def change(self, product: str, who: str, claim: Callable[[], None]) -> None:
        """Judge `product` from now on. Raises RecipeError and leaves the station in FAULT if it is unfit.

        `claim` is called once, before the product comes into use; it raises PrepareTimeout after the limit.
        """

    def test(self, who: str) -> None:
        """Test the product in use again. Raises RecipeError and leaves the station in FAULT if it fails."""

    def reload(self, who: str) -> None:
        """Read and test the product in use again while the line goes on. Raises what `test` does."""

    @property
    def awaited_due(self) -> bool:
        """Whether it is time to look for the missing files of the product again."""

    def take_up_awaited(self) -> None:
        """Bring the product into use if its missing files are there now. Raises what `test` does."""


@dataclass(frozen=True, slots=True)
class PendingCommand:
    """A queued command and the callback for its outcome."""

    command: Command
    done: Callable[[Answer], None]


class Commands:
    """Accept commands from any thread; `serve` runs them one after the other.

    `products` returns the index of each product that has a recipe, by name.
    """

    def __init__(
        self,
        station: Station,
        changeover: Changing,
        products: Callable[[], Mapping[str, int]],
        triggers: Lane[TriggerRequest] | None,
        metrics: Metrics,
        *,
        audit: Audit = lambda _who, _action, _facts: None,
        clock_s: Callable[[], float] = time.monotonic,
    ) -> None:
        self._station = station
        self._changeover = changeover
        self._products = products
        self._triggers = triggers  # None: exposures are not triggered by command.
        self._metrics = metrics
        self._audit = audit
        self._clock_s = clock_s
        self._pending = Lane[PendingCommand]("commands", 4)
        self._replies: OrderedDict[tuple[str, int], tuple[float, str]] = OrderedDict()
        self._unknown_product = ""  # Why the last `product` was refused; only a known one ends it.
        self._lock = Lock()

    @property
    def waiting(self) -> int:
        """Number of queued commands."""
        return len(self._pending)

    def receive(self, incoming: Incoming, reply: Callable[[str], None]) -> None:
        """Handle one message below `B/cmd/` without blocking; `reply` gets the JSON, perhaps later."""
        arrived_ns = time.monotonic_ns()
        command = parse_command(incoming)
        if not incoming.answerable:
            log.warning("command_refused name=%r reason='name too long to answer'", command.name[:32])
            return
        key = (command.name, command.rid)
        # An invalid command did nothing: its rid may be used again.
        understood = not isinstance(command, InvalidCommand)
        with self._lock:
            stored = self._replies.get(key)
            if command.rid and stored and self._clock_s() - stored[0] < REPLIES_S:
                if stored[1]:  # "" while the command runs: it is answered once.
                    reply(stored[1])
                return
            if understood:
                self._store(key, "")

        def answer(result: Answer) -> None:
            ms = (time.monotonic_ns() - arrived_ns) // 1_000_000
            text = reply_json(command.rid, code=result.code, reason=result.reason, ms=ms)
            if understood:
                with self._lock:
                    self._store(key, text)
            reply(text)

        self.submit(command, answer)

    def submit(self, command: Command | InvalidCommand, done: Callable[[Answer], None]) -> None:
        """Take a PLC's command without blocking; `done` is called once, with its outcome, perhaps later."""
        arrived_ns = time.monotonic_ns()

        def answer(result: Answer) -> None:
            if result.code is not ReplyCode.DONE:
                log.warning(
                    "command_refused name=%r rid=%d code=%d reason=%r",
                    command.name, command.rid, result.code, result.reason,
                )  # fmt: skip
                self._station.event(
                    "command_refused", command=command.name, rid=command.rid, code=int(result.code)
                )
            done(result)

        if isinstance(command, InvalidCommand):
            answer(self._missed(command, Answer(command.code, command.reason)))
        elif command.name == "trigger":
            answer(self._trigger(command, arrived_ns))
        else:
            self.request(command, answer)

    def request(self, command: Command, done: Callable[[Answer], None]) -> None:
        """Queue a command; `done` is called once, with its outcome."""
        if not self._queue(PendingCommand(command, done)):
            done(Answer(ReplyCode.BUSY, "too many commands at once; wait for the replies"))

    def _queue(self, pending: PendingCommand) -> bool:
        """Queue a command if there is room; while a changeover waits, no part passes."""
        with self._lock:  # Commands are added only here, so the room remains.
            if len(self._pending) == self._pending.capacity:
                return False
            if pending.command.name == "product":  # Before queueing: it may run at once.
                self._station.await_change(pending.command.product or f"number {pending.command.index}")
            return self._pending.offer(pending)

    def reload(self) -> None:
        """Read and test the recipe and the model of the product in use again."""

        def done(answer: Answer) -> None:
            if answer.code is not ReplyCode.DONE:
                log.warning("reload_refused code=%d reason=%r", answer.code, answer.reason)

        self.request(Command("reload", 0, who="reload"), done)

    def look_again(self) -> None:
        """Look for missing files of the product if it is time to and no command waits."""
        if self._changeover.awaited_due and not self.waiting:
            self.request(Command("await", 0, who="linewatch"), lambda _answer: None)

    def serve(self, stage: Stage) -> None:
        """Run queued commands until closed."""
        consume(stage, self._pending, self._run)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Refuse further commands; `serve` ends after those in the queue."""
        self._pending.close()

    def _run(self, pending: PendingCommand) -> None:
        # The first to take it answers: the changeover when the product is ready, or the timer.
        answered = Lock()
        wanted = pending.command.product or str(pending.command.index)
        late = PrepareTimeout(wanted, CHANGE_S)

        def claim() -> None:
            if not answered.acquire(blocking=False):
                raise late

        def give_up() -> None:  # If preparing hangs, the PLC is answered before the watchdog acts.
            if answered.acquire(blocking=False):
                pending.done(Answer(ReplyCode.TIMEOUT, str(late)))

        timer = Timer(CHANGE_S, give_up)
        timer.daemon = True
        if pending.command.name == "product":
            timer.start()
        try:
            answer = self._do(pending, claim)
        except RecipeError as trouble:
            answer = Answer(ReplyCode.SELFTEST_FAILED, str(trouble))
        finally:
            timer.cancel()
        if answer.code is ReplyCode.DONE or answered.acquire(blocking=False):
            pending.done(answer)

    def _do(self, pending: PendingCommand, claim: Callable[[], None]) -> Answer:
        mode = self._station.snapshot().mode
        tests = pending.command.name in ("selftest", "reload", "reset", "await")
        if tests and self._unknown_product:  # They would bring back the product before.
            return Answer(ReplyCode.UNKNOWN, f"{self._unknown_product}; name one that is known")
        match pending.command.name:
            case "product":
                self._station.change_begins()
                return self._change(pending.command, claim)
            case "selftest":
                self._changeover.test(pending.command.who)
            case "reload":
                self._changeover.reload(pending.command.who)
            case "await":
                self._changeover.take_up_awaited()
            case "pause":
                return self._pause(mode, pending.command.who)
            case "resume":
                return self._resume(mode, pending.command.who)
            case "reset":
                self._station.forgive_images()
                self._remember(pending.command.who, "reset", self._station.snapshot().product, mode)
                if mode is State.FAULT:
                    self._changeover.test(pending.command.who)
            case "rebirth":
                self._station.reborn()
            case other:
                raise AssertionError(other)
        return Answer(ReplyCode.DONE)

    def _pause(self, mode: State, who: str) -> Answer:
        if mode not in (State.READY, State.CHANGEOVER):
            return Answer(ReplyCode.NOT_READY, f"only a ready station can be paused; it is {mode}")
        self._station.pause()
        self._remember(who, "paused", self._station.snapshot().product, mode)
        return Answer(ReplyCode.DONE)

    def _resume(self, mode: State, who: str) -> Answer:
        if mode is not State.PAUSED:
            return Answer(ReplyCode.NOT_READY, f"only a paused station can resume; it is {mode}")
        self._station.resume()
        self._remember(who, "resumed", self._station.snapshot().product, mode)
        return Answer(ReplyCode.DONE)

    def _change(self, command: Command, claim: Callable[[], None]) -> Answer:
        """Change to a product that has a recipe; else FAULT, because the PLC expects another one."""
        try:
            products = self._products()
        except RecipeError as trouble:  # A broken recipe file: an index may mean any product.
            return self._unknown(command, str(trouble))
        names = {index: name for name, index in products.items()}
        product = command.product or names.get(command.index, "")
        if product not in products:
            known = ", ".join(f"{name} ({index})" for name, index in sorted(products.items()))
            wanted = command.product or command.index
            return self._unknown(command, f"product {wanted!r} has no recipe; known are {known or 'none'}")
        self._unknown_product = ""
        self._changeover.change(product, command.who, claim)
        return Answer(ReplyCode.DONE)

    def _unknown(self, command: Command, why: str) -> Answer:
        self._unknown_product = why
        before = self._station.snapshot().mode
        self._remember(command.who, "refused", command.product or str(command.index), before, why)
        self._station.intend(State.FAULT, why)
        return Answer(ReplyCode.UNKNOWN, why)

    def _remember(self, who: str, action: str, product: str, before: State, why: str = "") -> None:
        """Write into the audit what changes whether parts pass; the disk's refusal holds nothing up."""
        after = self._station.snapshot().state
        try:
            self._audit(who, action, {"product": product, "from": before, "to": after, "why": why})
        except StorageFull as trouble:
            self._station.storage_failed("journal", trouble)

    def _trigger(self, command: Command, arrived_ns: int) -> Answer:
        answer = self._exposure(command, arrived_ns)
        if answer.code is ReplyCode.DONE:
            self._metrics.triggers.inc()
            return answer
        return self._missed(command, answer)

    def _missed(self, command: Command | InvalidCommand, answer: Answer) -> Answer:
        """Count a trigger without an exposure: its part gets no verdict."""
        if command.name == "trigger":
            self._metrics.triggers.inc()
            self._metrics.triggers_missed.inc()
            part = command.part if isinstance(command, Command) else ""
            self._station.event("trigger_missed", rid=command.rid, part=part, code=int(answer.code))
        return answer

    def _exposure(self, command: Command, arrived_ns: int) -> Answer:
        if self._triggers is None:
            return Answer(ReplyCode.NOT_READY, 'this station takes no triggers; set trigger.mode = "mqtt"')
        expires_ns = _expiry(command.exp_ms, arrived_ns)
        if expires_ns is not None and expires_ns < arrived_ns:
            return Answer(ReplyCode.EXPIRED, "exp_ms lies in the past; compare the clocks")
        station = self._station.snapshot()
        if station.mode is not State.READY:  # A lost camera does not refuse: the part gets its ERROR 40.
            return Answer(ReplyCode.NOT_READY, f"the station is {station.state}")
        if self._triggers.offer(TriggerRequest(command.rid, command.part, arrived_ns, expires_ns)):
            return Answer(ReplyCode.DONE)
        if self._triggers.closed:
            return Answer(ReplyCode.NOT_READY, "the line has stopped")
        return Answer(ReplyCode.BUSY, "the exposure before this one is not finished")

    def _store(self, key: tuple[str, int], text: str) -> None:
        now_s = self._clock_s()
        self._replies[key] = (now_s, text)
        self._replies.move_to_end(key)
        while len(self._replies) > REPLIES_MAX or now_s - next(iter(self._replies.values()))[0] > REPLIES_S:
            self._replies.popitem(last=False)


def _expiry(exp_ms: int, arrived_ns: int) -> int | None:
    """Return when a trigger expires (monotonic nanoseconds), None for never."""
    if exp_ms == 0:
        return None
    span_ms = exp_ms if exp_ms < SPAN_MS_MAX else exp_ms - time.time_ns() // 1_000_000
    return arrived_ns + span_ms * 1_000_000
