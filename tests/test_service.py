"""The daemon as systemd sees it: what it says on a real notify socket, and when it falls silent."""

import signal
from pathlib import Path

from tests.daemon import START_S, Daemon
from tests.mosquitto import Mosquitto


def test_ready_is_said_when_the_product_is_proven_and_the_page_answers(
    tmp_path: Path, mosquitto: Mosquitto
) -> None:
    """Neither before, nor is there any other word before it; the last one is STOPPING."""
    program = (
        "from linewatch.cli import main as cli\n"
        "from linewatch.line import changeover\n"
        "begin = changeover.Changeover.begin\n"
        "def slow(self, *arguments):\n"
        "    import time; time.sleep(1)\n"
        "    begin(self, *arguments)\n"
        "    print('product proven', flush=True)\n"
        "changeover.Changeover.begin = slow\n"
        "cli.main()\n"
    )
    with Daemon(tmp_path, mosquitto.port, program=program) as daemon:
        log, first = daemon.log, list(daemon.notified)
        answers, _ = daemon.get("/healthz")
        daemon.process.send_signal(signal.SIGTERM)
        while daemon.notice(START_S) != "STOPPING=1":
            pass
        assert daemon.end() == 0

    assert first == ["READY=1"]
    assert "product proven" in log
    assert answers == 200
    assert set(daemon.notified[1:-1]) == {"WATCHDOG=1"}


def test_a_hang_that_stops_every_thread_silences_the_watchdog(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """Native code that never releases the interpreter: only systemd, without watchdog messages, can act."""
    hung = (
        "import ctypes, itertools\n"
        "from linewatch.cli import main as cli\n"
        "from linewatch.line import recorder\n"
        "record, calls = recorder.Recorder.record, itertools.count(1)\n"
        "def hang(self, inspection):\n"
        "    if next(calls) == 10:\n"
        "        ctypes.PyDLL(None).sleep(600)\n"  # Unlike CDLL it does not let go of the interpreter.
        "    return record(self, inspection)\n"
        "recorder.Recorder.record = hang\n"
        "cli.main()\n"
    )
    with Daemon(tmp_path, mosquitto.port, program=hung) as daemon:
        while daemon.notice(3.0):
            pass

        assert daemon.process.poll() is None
        assert daemon.notified.count("WATCHDOG=1") >= 1
        assert max(row["seq"] for row in daemon.rows()) == 9


def test_a_stage_that_hangs_ends_the_process_with_its_name(tmp_path: Path, mosquitto: Mosquitto) -> None:
    """After `limits.stall_s` the watchdog gets nothing more; exit 1, and systemd starts it again."""
    hung = (
        "import time\n"
        "from linewatch.cli import main as cli\n"
        "from linewatch.line import recorder\n"
        "recorder.Recorder.record = lambda self, inspection: time.sleep(600)\n"
        "cli.main()\n"
    )
    changes = {"limits.stall_s": 2.0, "source.read_timeout_s": 1.0, "source.open_timeout_s": 1.0}
    with Daemon(tmp_path, mosquitto.port, changes, hung) as daemon:
        assert daemon.end() == 1
        assert "stage 'record' holds one item" in daemon.log
