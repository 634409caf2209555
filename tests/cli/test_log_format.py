"""Log lines name the zone of their time."""

import logging
import subprocess
import sys
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


def test_a_library_that_logs_while_it_is_imported_does_not_keep_the_log_away() -> None:
    """Its call sets up the root logger, so that `logging.basicConfig` does nothing any more."""
    program = (
        "import logging; logging.warning('first');"
        "from linewatch.cli.main import _log_to_stdout; _log_to_stdout();"
        "logging.getLogger('linewatch').info('state to=READY')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout.endswith("INFO state to=READY\n")


def test_the_inference_library_has_no_telemetry() -> None:
    """It would be sent without being asked for, and complains where the user has no home."""
    program = "import linewatch, openvino, sys; print(sys.modules['openvino_telemetry'])"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)

    assert done.stdout == "None\n"
