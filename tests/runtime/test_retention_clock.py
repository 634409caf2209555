"""Setting the wall clock while the line runs removes no data early."""

import logging
from pathlib import Path

import pytest

from linewatch.runtime.retention_clock import RetentionClock
from tests.daemon import Daemon, verdicts
from tests.mosquitto import Mosquitto, Subscriber

DAY_S = 86_400.0
LIBRARIES = sorted(Path("/usr/lib").glob("*/faketime/libfaketime.so.1"))


class FakeClocks:
    """A wall clock and a monotonic clock, both set by the test."""

    def __init__(self) -> None:
        self.utc_s, self.since_s = 1_790_000_000.0, 50.0

    def retention_clock(self) -> RetentionClock:
        """Return a retention clock that starts now."""
        return RetentionClock(lambda: self.utc_s, lambda: self.since_s)

    def pass_time(self, seconds: float) -> None:
        """Advance both clocks."""
        self.utc_s += seconds
        self.since_s += seconds


def test_time_that_passes_counts() -> None:
    """Without a jump it follows the wall clock."""
    clocks = FakeClocks()
    clock = clocks.retention_clock()
    clocks.pass_time(100 * DAY_S)

    assert clock.utc_s() == clocks.utc_s


def test_a_clock_set_forward_makes_nothing_old(caplog: pytest.LogCaptureFixture) -> None:
    """A year ahead and back again: only the time that passed counts, and the jump is logged."""
    clocks = FakeClocks()
    clock = clocks.retention_clock()
    with caplog.at_level(logging.WARNING):
        clocks.utc_s += 365 * DAY_S
        clocks.pass_time(10.0)
        assert clock.utc_s() == 1_790_000_010.0
        clocks.utc_s -= 365 * DAY_S
        assert clock.utc_s() == 1_790_000_010.0

    assert [record.getMessage() for record in caplog.records] == ["clock_jumped by_s=31536000"]


def test_a_clock_set_back_keeps_things_longer() -> None:
    """A wall clock set back is followed, so data is removed later."""
    clocks = FakeClocks()
    clock = clocks.retention_clock()
    clocks.utc_s -= 3600.0

    assert clock.utc_s() == 1_790_000_000.0 - 3600.0


@pytest.mark.skipif(not LIBRARIES, reason="apt-get install faketime, which sets a clock for one process")
def test_setting_the_clock_does_not_disturb_the_line(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """An hour back, then 400 days ahead: no part becomes late or old, no evidence is removed early."""
    hands = tmp_path / "hands"
    hands.write_text("+0")
    environment = {
        "LD_PRELOAD": str(LIBRARIES[0]),
        "FAKETIME_TIMESTAMP_FILE": str(hands),
        "FAKETIME_NO_CACHE": "1",
        "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        "DONT_FAKE_MONOTONIC": "1",  # The name in older versions.
        "NO_FAKE_STAT": "1",
    }
    with (
        Subscriber(mosquitto.port) as ear,
        # At a pace at which even a broker that is held up for a second is not given up.
        Daemon(
            tmp_path, mosquitto.port, {"evidence.pass_every": 1, "source.fps": 8}, environment=environment
        ) as daemon,
    ):
        for setting in ("-1h", "+400d", "+0"):
            seen = len(ear.on("t/history"))
            ear.wait(lambda ear, seen=seen: len(ear.on("t/history")) > seen + 12)  # type: ignore[misc]  # bound now
            (tmp_path / "new").write_text(setting)
            (tmp_path / "new").replace(hands)  # At once: half a file is another time.
        seen = len(ear.on("t/history"))
        ear.wait(lambda ear: len(ear.on("t/history")) > seen + 12)
        assert daemon.stop() == 0
        rows = daemon.rows()

    live = verdicts(ear.on("t/verdict"))
    captured = [row["captured_ms"] for row in rows]
    assert max(captured) - min(captured) > 400 * DAY_S * 1000  # It was set.
    assert [v["seq"] for v in live] == [row["seq"] for row in rows] == list(range(1, len(rows) + 1))
    assert {v["reason"] for v in live} <= {0, 10, 31}  # None is old or late; a busy machine may drop some.
    assert {"PASS", "FAIL"} <= {v["result"] for v in live}
    assert not any(v["late"] for v in live)
    assert max(v["latency_ms"] for v in live) < 5000
    assert all((daemon.evidence / v["image"]).exists() for v in live if v["image"])
    assert verdicts(ear.on("t/history")) == [v | {"history": 1} for v in live]
