"""A process beside the line for one job at a time, at a low priority."""

import json
import subprocess
import sys
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any

from linewatch.errors import LinewatchError
from linewatch.runtime.atomic_files import write_text

_PROGRAM = """
from linewatch.runtime.priority import give_way
give_way({nice})
from {module} import main
main()
"""


class SideProcess:
    """Runs `main` of a module, which reads its job with `read_job`; any thread may call."""

    def __init__(self, module: str, folder: Path, nice: int) -> None:
        self._program = _PROGRAM.format(module=module, nice=nice)
        self._file = folder / "job.json"
        self._process: subprocess.Popen[bytes] | None = None
        self._lock = threading.Lock()
        self._closed = False

    def start(self, job: object) -> bool:
        """Start a job and return True; False after `close`, while one runs, and if it cannot start now."""
        with self._lock:
            if self._closed or (self._process is not None and self._process.poll() is None):
                return False
            with suppress(
                OSError, LinewatchError
            ):  # No memory, process id or room: the next call tries again.
                write_text(self._file, json.dumps(job))
                self._process = subprocess.Popen(
                    [sys.executable, "-c", self._program, str(self._file)],
                    stdin=subprocess.DEVNULL,
                    start_new_session=True,
                )
                return True
        return False

    @property
    def running(self) -> bool:
        """Whether a job runs."""
        with self._lock:
            return self._process is not None and self._process.poll() is None

    def wait(self, timeout_s: float) -> int:
        """Return the exit status of the last job once it has ended."""
        assert self._process is not None
        return self._process.wait(timeout_s)

    def close(self) -> None:
        """End the process; a request that is still being answered must not start another one."""
        with self._lock:
            self._closed = True
            if self._process is not None:
                self._process.kill()
                self._process.wait()
                self._process = None


def read_job() -> dict[str, Any]:
    """Return the job that the process was started with."""
    found: dict[str, Any] = json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))
    return found
