"""Exponential back-off with jitter."""

from linewatch.runtime.backoff import Backoff


def test_waits_double_up_to_the_limit_and_start_again() -> None:
    """After a success the first wait is short again."""
    backoff = Backoff(0.5, 3.0, jitter=lambda: 1.0)
    assert [backoff.next_s() for _ in range(5)] == [0.5, 1.0, 2.0, 3.0, 3.0]
    backoff.reset()
    assert backoff.next_s() == 0.5


def test_jitter_spreads_the_stations_of_a_plant() -> None:
    """Stations do not retry in step, and none waits much longer than the limit."""
    waits = {Backoff(1.0, 1.0).next_s() for _ in range(50)}

    assert len(waits) > 10
    assert all(0.8 <= wait <= 1.2 for wait in waits)
