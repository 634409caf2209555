"""The daemon as its user runs it: a process, settings in a file, a page, signals."""

import json
import os
import signal
import socket
import sqlite3
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

ROOT = Path(__file__).parent.parent
START_S = 30.0


class Daemon:
    """`linewatch run` in a folder of its own, with the demo product; starts on entering.

    `changes` are settings as `{"source.fps": 50}`. `program` runs instead of the command line's main,
    `environment` is added to what it inherits.
    Entering returns once it said READY=1; leaving kills what still runs.
    """

    def __init__(
        self,
        folder: Path,
        broker_port: int,
        changes: Mapping[str, object] | None = None,
        program: str = "",
        environment: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.evidence = folder / "evidence"
        settings: dict[str, object] = {
            "station.product": "demo",
            "source.kind": "simulator",
            "source.uri": "defects=0.3",
            "source.fps": 20.0,
            "models.path": str(ROOT / "models"),
            "models.recipes": str(ROOT / "config/recipes"),
            "mqtt.port": broker_port,
            "mqtt.base_topic": "t",
            "journal.path": str(folder / "journal.db"),
            "evidence.path": str(self.evidence),
            "evidence.free_bytes_min": 0,
            "http.port": 0,
            "teach.path": str(folder / "datasets"),
            "study.path": str(folder / "studies"),
            "teach.nice": 0,  # Beside other people's builds it would not end.
            "limits.deadline_ms": 5000,  # Other tests and other people's builds share these cores.
            "limits.frame_age_ms_max": 5000,
        }
        self._environment = {
            key: value for key, value in os.environ.items() if not key.startswith("LINEWATCH_")
        }
        for key, value in (settings | dict(changes or {})).items():
            self._environment[f"LINEWATCH_{key.upper().replace('.', '__')}"] = str(value)
        self._environment |= environment or {}
        (folder / "linewatch.toml").write_text("")
        command = ["-c", program] if program else ["-m", "linewatch"]
        self._command = [sys.executable, *command, "run", "--config", str(folder / "linewatch.toml")]

    def __enter__(self) -> Self:
        path = self.folder / "notify"
        path.unlink(missing_ok=True)
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notify.bind(str(path))
        self.log_path = self.folder / "log"
        with self.log_path.open("ab") as log:
            self.process = subprocess.Popen(
                self._command,
                env=self._environment | {"NOTIFY_SOCKET": str(path)},
                stdout=log,
                stderr=log,
                cwd=ROOT,
            )
        self.notified: list[str] = []
        while self.notice(START_S) != "READY=1":
            pass
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.process.kill()
        self.process.wait()
        self._notify.close()
        if error is not None:
            print(self.log_path.read_text()[-4000:])

    def notice(self, timeout_s: float) -> str:
        """Return its next message to systemd, "" if there is none; `notified` keeps everything."""
        self._notify.settimeout(timeout_s)
        try:
            self.notified.append(self._notify.recv(4096).decode())
        except TimeoutError:
            assert self.notified, f"not started within {timeout_s:.0f} s: {self.log[-4000:]}"
            return ""
        return self.notified[-1]

    @property
    def log(self) -> str:
        """Everything it printed."""
        return self.log_path.read_text()

    @property
    def address(self) -> str:
        """The page's address, without a slash at its end."""
        line = next(line for line in reversed(self.log.splitlines()) if "page address=" in line)
        return line.rpartition("=")[2].rstrip("/")

    def stop(self, *signals: signal.Signals) -> int:
        """Send signals, SIGTERM if none is given, and return the exit status."""
        for number in signals or (signal.SIGTERM,):
            self.process.send_signal(number)
        return self.end()

    def end(self) -> int:
        """Wait for the end and return the exit status."""
        return self.process.wait(START_S)

    def get(self, path: str) -> tuple[int, bytes]:
        """Fetch from the page; return status and body."""
        return self._fetch(urllib.request.Request(self.address + path))

    def post(self, path: str, body: Mapping[str, object], token: str) -> tuple[int, bytes]:
        """Send JSON with a token to the page; return status and body."""
        headers = {"Authorization": f"Bearer {token}", "Content-Type": "application/json"}
        return self._fetch(
            urllib.request.Request(self.address + path, json.dumps(dict(body)).encode(), headers)
        )

    @staticmethod
    def _fetch(request: urllib.request.Request) -> tuple[int, bytes]:
        try:
            with urllib.request.urlopen(request, timeout=10) as answer:
                return answer.status, answer.read()
        except urllib.error.HTTPError as error:
            return error.code, error.read()

    def rows(self, path: Path | None = None) -> list[dict[str, Any]]:
        """Return the journal's rows, oldest first, read with plain SQLite; `path` replaces its usual path."""
        with sqlite3.connect(f"file:{path or self.folder / 'journal.db'}?mode=ro", uri=True) as db:
            db.row_factory = sqlite3.Row
            return [dict(row) for row in db.execute("SELECT * FROM verdicts ORDER BY id")]


def verdicts(payloads: list[str]) -> list[dict[str, Any]]:
    """Parse payloads."""
    return [json.loads(payload) for payload in payloads]
