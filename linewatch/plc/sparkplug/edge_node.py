"""The Sparkplug B edge node: its connection, its sessions, and what is kept while there is none."""

import importlib.util
import logging
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from linewatch.domain import Answer, Result, Verdict
from linewatch.errors import ConfigError, LinewatchError
from linewatch.mqtt.broker import Broker
from linewatch.mqtt.connection import LastWill, Session
from linewatch.mqtt.messages import BinaryMessage, Command, Incoming, InvalidCommand
from linewatch.plc.adapter import BEAT_S, Announce, Submit
from linewatch.plc.newest import NewestVerdict
from linewatch.plc.sparkplug import metric_map as at
from linewatch.plc.sparkplug.host import PrimaryHost
from linewatch.plc.sparkplug.session_number import SessionNumber
from linewatch.plc_settings import SparkplugSettings
from linewatch.runtime.wakeup import Wakeup

log = logging.getLogger(__name__)

NAMESPACE = "spBv1.0"
BIRTHS_S = 0.1  # Between two births: a host that asks all the time must not fill the network.
BATCH = 20  # Historical verdicts in one message, one message a turn.
ARRIVED_MAX = 1000  # Verdicts that the node's thread has not taken, as while it connects.
ANSWERS_MAX = 64
LOG_S = 60.0  # Between two lines about refused messages.
REQUESTS = 0xFFFF


@dataclass(frozen=True, slots=True)
class Waiting:
    """A verdict that waits to be published, and since when (monotonic seconds)."""

    verdict: Verdict
    since_s: float


@dataclass(frozen=True)
class Meters:
    """What the node counts."""

    verdict: Callable[[str], None]  # Outcome "live", "historical" or "dropped".
    command: Callable[[str], None]  # Outcome "rebirth", "accepted" or "refused".
    connected: Callable[[float], None]  # 1 from a birth until the end of its session.


class NodeTopics:
    """The topics of one node (Sparkplug 3.0.0, 4)."""

    def __init__(self, settings: SparkplugSettings, station: str) -> None:
        self.node = f"{settings.group}/{station}"
        self.birth, self.data, self.death, self.commands = (
            f"{NAMESPACE}/{settings.group}/{kind}/{station}" for kind in ("NBIRTH", "NDATA", "NDEATH", "NCMD")
        )
        # That of the primary host's state; "" without one.
        self.host = f"{NAMESPACE}/STATE/{settings.primary_host}" if settings.primary_host else ""


class EdgeNode:
    """Publishes the station to the hosts of a Sparkplug network; an adapter.

    A session begins with NBIRTH and ends with NDEATH, which the broker has as the will. A verdict is
    published as the present one if that is possible within `live_s`; otherwise it is kept, at most
    `history_max` of them, and published as historical. `on_change` gets why nothing is published, then "".
    """

    name = "sparkplug"

    def __init__(
        self,
        settings: SparkplugSettings,
        station: str,
        session_file: Path,
        announce: Announce,
        submit: Submit,
        meters: Meters,
        *,
        live_s: float,
        on_change: Callable[[str], None],
    ) -> None:
        """Take what the node shows and commands. Raises ConfigError, also without protobuf."""
        require_protobuf()
        from linewatch.plc.sparkplug import commands, payloads  # noqa: PLC0415 - protobuf is optional

        self._read_command = commands.read_command
        self._payloads = payloads.Payloads(commands=settings.commands)
        self._death = payloads.death
        self._settings = settings
        self._announce = announce
        self._submit = submit
        self._meters = meters
        self._live_s = live_s
        self._on_change = on_change
        self._topics = NodeTopics(settings, station)
        self._number = SessionNumber(session_file)
        will = LastWill(self._next_death, retain=False, on_leave=True, opened=self._number.use)
        self._broker = Broker(settings, f"linewatch-{station}-sparkplug", will=will)
        self._newest = NewestVerdict(announce, settings.pass_s)
        self._host = PrimaryHost()
        self._wake = Wakeup()
        self._arrived: deque[Waiting] = deque(maxlen=ARRIVED_MAX)  # Filled by the line's thread.
        self._history: deque[Verdict] = deque()
        self._answers: deque[dict[str, object]] = deque(maxlen=ANSWERS_MAX)  # Filled by any thread.
        self._answer = dict(at.NO_ANSWER)
        self._requests = 0
        self._born = False
        self._birth_wanted = True
        self._birth_due_s = 0.0
        self._log_due_s = 0.0

    def publish_verdict(self, verdict: Verdict) -> None:
        """Keep a verdict for the node's thread."""
        if len(self._arrived) == ARRIVED_MAX:
            self._meters.verdict("dropped")
        self._arrived.append(Waiting(verdict, time.monotonic()))
        self._wake.set()

    def serve(self, ended: Callable[[], bool], beat: Callable[[], None]) -> None:
        """Connect, publish until `ended`, and take leave. Raises LinewatchError when that is not possible."""
        self._keep_arrived()
        self._host.forget()
        self._born, self._birth_wanted = False, True
        try:
            with self._broker.connect(self._receive) as session:
                log.info("sparkplug address=%s bdseq=%d", self._broker.address, self._number.last)
                session.subscribe(self._topics.commands)
                if self._topics.host:
                    session.subscribe(self._topics.host)
                goes_on = True
                while goes_on and not ended():
                    beat()
                    goes_on = self._turn(session)
                self._leave(session)
        finally:
            self._born = False
            self._meters.connected(0)
        if not ended():
            raise LinewatchError(self._host_offline())

    def _turn(self, session: Session) -> bool:
        """Wait for something to do, and do it; return False once the session has to end."""
        session.pump(BEAT_S, self._wake)
        self._wake.clear()
        if self._topics.host and not self._host.online:
            self._keep_arrived()
            if not self._born:
                self._on_change(self._host_offline())
            return not self._born
        if session.blocked:  # A broker that does not read: nothing more may wait for it.
            self._keep_late()
            return True
        if self._birth_wanted and time.monotonic() >= self._birth_due_s:
            self._give_birth(session)
        if self._born and not self._birth_wanted:
            self._publish_arrived(session)
            self._publish_changes(session)
            self._publish_history(session)
        return True

    def _give_birth(self, session: Session) -> None:
        now, shown = self._newest.show()
        payload = self._payloads.birth(self._number.last, now, shown, self._answer, _utc_ms())
        self._publish(session, self._topics.birth, payload)
        self._birth_wanted = False
        self._birth_due_s = time.monotonic() + BIRTHS_S
        if not self._born:
            self._born = True
            self._meters.connected(1)
            self._on_change("")

    def _publish_arrived(self, session: Session) -> None:
        """Publish each new verdict as the present one, if it still is."""
        while self._arrived:
            waiting = self._arrived.popleft()
            if time.monotonic() - waiting.since_s > self._live_s:
                self._keep(waiting.verdict)
                continue
            self._newest.publish(waiting.verdict)
            _, shown = self._newest.show()
            if waiting.verdict.result is Result.PASS and shown is not None and not shown.code:
                self._keep(waiting.verdict)  # Withdrawn before it was shown.
            else:
                self._meters.verdict("live")
            self._publish_changes(session)

    def _publish_changes(self, session: Session) -> None:
        while self._answers:
            self._answer = self._answers.popleft()
        now, shown = self._newest.show()
        payload = self._payloads.data(now, shown, self._answer, _utc_ms())
        if payload is not None:
            self._publish(session, self._topics.data, payload)

    def _publish_history(self, session: Session) -> None:
        verdicts = [self._history.popleft() for _ in range(min(BATCH, len(self._history)))]
        if verdicts:
            self._publish(session, self._topics.data, self._payloads.history(verdicts, _utc_ms()))
            for _ in verdicts:
                self._meters.verdict("historical")
            self._wake.set()  # For the next ones.

    def _leave(self, session: Session) -> None:
        """End the session: what changed last, then the death, which hosts may not get from the broker."""
        if self._born:
            self._publish_arrived(session)
            self._publish_changes(session)
            self._born = False
        session.publish(BinaryMessage(self._topics.death, self._death(self._number.last, _utc_ms())))

    def _keep_arrived(self) -> None:
        while self._arrived:
            self._keep(self._arrived.popleft().verdict)

    def _keep_late(self) -> None:
        """Keep the verdicts that are too late to be the present one."""
        while self._arrived and time.monotonic() - self._arrived[0].since_s > self._live_s:
            self._keep(self._arrived.popleft().verdict)

    def _keep(self, verdict: Verdict) -> None:
        self._history.append(verdict)
        while len(self._history) > self._settings.history_max:
            self._history.popleft()
            self._meters.verdict("dropped")

    def _receive(self, incoming: Incoming) -> None:
        """Take a message of the subscriptions; called by `pump`."""
        if incoming.topic == self._topics.host:
            if not self._host.receive(incoming.payload):
                self._refuse("the STATE message is no JSON with online and timestamp")
            return
        if incoming.retained:
            self._refuse("retained commands are refused; publish it without the retain flag")
            return
        try:
            written = self._read_command(incoming.payload, self._requests % REQUESTS + 1)
        except ValueError as why:
            self._refuse(str(why))
            return
        if written.rebirth:
            self._birth_wanted = True
            self._meters.command("rebirth")
        if written.command is None:
            return
        if not self._settings.commands:
            self._refuse("sparkplug.commands is false")
            return
        self._requests += 1
        self._meters.command("refused" if isinstance(written.command, InvalidCommand) else "accepted")
        self._submit(written.command, partial(self._answered, written.command))

    def _answered(self, command: Command | InvalidCommand, answer: Answer) -> None:
        self._answers.append(
            {
                "Answer/Request": command.rid,
                "Answer/Command": command.name,
                "Answer/Code": int(answer.code),
                "Answer/Reason": answer.reason.encode("utf-8", "replace").decode(),
            }
        )
        self._wake.set()

    def _refuse(self, why: str) -> None:
        self._meters.command("refused")
        if time.monotonic() >= self._log_due_s:
            self._log_due_s = time.monotonic() + LOG_S
            log.warning("sparkplug_refused reason=%r", why)

    def _next_death(self) -> BinaryMessage:
        """Return the will of the next connection."""
        return BinaryMessage(self._topics.death, self._death(self._number.next, _utc_ms()))

    def _host_offline(self) -> str:
        return (
            f"sparkplug: the primary host {self._settings.primary_host!r} is offline, so nothing is "
            "published; start it, or correct sparkplug.primary_host"
        )

    def _publish(self, session: Session, topic: str, payload: bytes) -> None:
        session.publish(BinaryMessage(topic, payload), qos=0)


def require_protobuf() -> None:
    """Raise ConfigError, which says what to install, without protobuf."""
    try:
        found = importlib.util.find_spec("google.protobuf") is not None
    except ModuleNotFoundError:  # Not even its parent.
        found = False
    if not found:
        raise ConfigError(
            "sparkplug.enabled needs the extra [sparkplug]; install it: pip install 'linewatch[sparkplug]', "
            "in a clone: .venv/bin/pip install -c config/constraints.txt -e '.[sparkplug]'"
        )


def _utc_ms() -> int:
    return time.time_ns() // 1_000_000
