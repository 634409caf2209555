import signal
import threading
from collections.abc import Iterator

import pytest

from linewatch.runtime.signals import Signals, ignore_sighup


class Rig:
    """Signals with the events that they set."""

    def __init__(self, duration_s: float | None = None) -> None:
        self.stop, self.hurry = threading.Event(), threading.Event()
        self.reload = threading.Event()
        self.signals = Signals(self.stop, self.hurry, self.reload, duration_s=duration_s)


@pytest.fixture(autouse=True)
def handlers() -> Iterator[None]:
    """Restore the signal handlers."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]
    yield
    for number, handler in zip(numbers, before, strict=True):
        signal.signal(number, handler)


@pytest.fixture
def rig() -> Iterator[Rig]:
    """Install the handlers for one test."""
    rig = Rig()
    with rig.signals:
        yield rig


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_stops_and_the_second_hurries(rig: Rig, number: signal.Signals) -> None:
    """The second signal skips the wait for the history."""
    signal.raise_signal(number)
    assert (rig.stop.is_set(), rig.hurry.is_set()) == (True, False)

    signal.raise_signal(signal.SIGINT)
    assert rig.hurry.is_set()


def test_a_signal_after_another_reason_to_stop_hurries(rig: Rig) -> None:
    """When the line has ended already, the first signal skips the grace."""
    rig.stop.set()

    signal.raise_signal(signal.SIGINT)

    assert rig.hurry.is_set()


def test_sighup_only_sets_an_event(rig: Rig) -> None:
    """The main loop reloads when it sees the event; nothing stops."""
    assert not rig.reload.is_set()

    signal.raise_signal(signal.SIGHUP)

    assert rig.reload.is_set()
    assert not rig.stop.is_set()


def test_the_handlers_before_are_back_after_it() -> None:
    """The handlers of before are back after the block."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)
    before = [signal.getsignal(number) for number in numbers]

    with Rig().signals:
        assert [signal.getsignal(number) for number in numbers] != before

    assert [signal.getsignal(number) for number in numbers] == before


def test_a_signal_that_comes_after_the_end_does_not_disturb_it() -> None:
    """A second Ctrl+C during clean-up does not turn exit status 0 into another."""
    rig = Rig()
    with rig.signals:
        signal.raise_signal(signal.SIGTERM)

    signal.raise_signal(signal.SIGINT)
    signal.raise_signal(signal.SIGTERM)

    assert (rig.stop.is_set(), rig.hurry.is_set()) == (True, False)


def test_outside_the_main_thread_signals_are_left_alone() -> None:
    """Python allows handlers in the main thread only; elsewhere none is installed."""
    before = signal.getsignal(signal.SIGTERM)
    seen: list[object] = []

    def inside() -> None:
        with Rig().signals:
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=inside)
    thread.start()
    thread.join()

    assert seen == [before]


@pytest.mark.parametrize(("duration_s", "stops"), [(0.0, True), (3600.0, False), (None, False)])
def test_a_given_duration_stops_by_itself(duration_s: float | None, stops: bool) -> None:
    """The end of `--duration` stops as the first signal does."""
    rig = Rig(duration_s)

    rig.signals.check_duration()

    assert (rig.stop.is_set(), rig.hurry.is_set()) == (stops, False)


def test_a_reload_while_starting_does_not_end_the_process() -> None:
    """A SIGHUP during the start does not end the process."""
    ignore_sighup()

    assert signal.getsignal(signal.SIGHUP) is signal.SIG_IGN
