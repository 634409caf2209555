"""An adapter that is served in a thread, over a station that is the test's."""

import threading
from abc import abstractmethod
from collections import Counter
from collections.abc import Callable
from types import TracebackType
from typing import Self

from linewatch.domain import Answer, ReplyCode, State
from linewatch.mqtt.messages import Command, InvalidCommand
from linewatch.plc.adapter import Adapter, keep_serving

WAIT_S = 10.0


class ServedAdapter:
    """Serves `adapter` between enter and exit; keeps what it counts, asks for and reports."""

    patience_s = WAIT_S

    def __init__(self) -> None:
        self.state = State.READY
        self.commands: list[Command | InvalidCommand] = []
        self.counts: Counter[str] = Counter()
        self.clients = 0.0
        self.troubles: list[str] = []
        self.beats = 0
        self._changed = threading.Condition()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    @property
    @abstractmethod
    def adapter(self) -> Adapter:
        """What is served."""

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._ended.set()
        self._thread.join(self.patience_s)
        assert not self._thread.is_alive()

    def wait(self, done: Callable[[], bool]) -> None:
        """Wait until something about the adapter is true."""
        with self._changed:
            assert self._changed.wait_for(done, self.patience_s), (self.counts, self.troubles)

    def answer_to(self, command: Command | InvalidCommand) -> Answer:
        """Return what the station answers."""
        return Answer(command.code if isinstance(command, InvalidCommand) else ReplyCode.DONE)

    def _run(self) -> None:
        keep_serving(self.adapter, self._ended.is_set, self._beat, self._note, backoff_first_s=0.01)

    def _submit(self, command: Command | InvalidCommand, done: Callable[[Answer], None]) -> None:
        with self._changed:
            self.commands.append(command)
            self._changed.notify_all()
        done(self.answer_to(command))

    def _beat(self) -> None:
        with self._changed:
            self.beats += 1
            self._changed.notify_all()

    def _count(self, outcome: str) -> None:
        with self._changed:
            self.counts[outcome] += 1
            self._changed.notify_all()

    def _show_clients(self, clients: float) -> None:
        with self._changed:
            self.clients = clients
            self._changed.notify_all()

    def _note(self, trouble: str) -> None:
        with self._changed:
            self.troubles.append(trouble)
            self._changed.notify_all()
