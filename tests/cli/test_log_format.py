"""Log lines name the zone of their time."""

import logging
import time

import pytest

from linewatch.cli.log_format import LogFormatter


@pytest.mark.parametrize(
    ("zone", "stamp"),
    [
        ("Europe/Berlin", "2026-10-25T02:30:00.250+02:00"),
        ("UTC", "2026-10-25T00:30:00.250+00:00"),
        ("Asia/Kolkata", "2026-10-25T06:00:00.250+05:30"),
    ],
)
def test_a_log_line_carries_its_zone(monkeypatch: pytest.MonkeyPatch, zone: str, stamp: str) -> None:
    """Lines of two stations, or of one night in autumn, can be put in order."""
    record = logging.LogRecord("x", logging.INFO, "", 0, "verdict seq=%d", (1,), None)
    record.created = 1_792_888_200.25
    with monkeypatch.context() as patch:
        patch.setenv("TZ", zone)
        time.tzset()
        line = LogFormatter().format(record)
    time.tzset()

    assert line == f"{stamp} INFO verdict seq=1"
