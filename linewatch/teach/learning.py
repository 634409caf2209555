"""Learn one product at a time in a process of the lowest priority, whose state is in files.

The process holds a lock on `lock` for as long as it lives, so a dead one is recognised whatever ended it,
also after the daemon was started again. `job.json` says what was asked for, `state.json` how far it is, and
`log` is what it printed; the process writes the latter two.
"""

import fcntl
import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from linewatch.errors import LinewatchError, UsageError
from linewatch.runtime.atomic_files import translate_os_errors, write_text
from linewatch.runtime.paused_processes import PausedProcesses
from linewatch.settings import Settings
from linewatch.teach.datasets import Datasets
from linewatch.teaching import TRAIN_GOOD, LearningStage, LearningState
from linewatch.training.images import IMAGES_MIN

log = logging.getLogger(__name__)

FOLDER = "_learning"  # Of the data sets' folder; no product's name begins with an underscore.
LOG_LINES = 12
LOG_BYTES = 4_000
END_S = 5.0  # After its process was killed.
PIXELS = {"coarse": 4096, "usual": 65536, "fine": 131072}  # Of the network's input.
_THREADS = ("TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS", "OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS")
_PROGRAM = """
import sys
from linewatch.runtime.priority import give_way, run_when_orphaned
give_way(int(sys.argv[2]))
run_when_orphaned()
from linewatch.teach.learning_process import main
main()
"""


class Learning:
    """Starts, watches and ends the learning process; any thread may call.

    `beside` makes that process give way to the line.
    """

    def __init__(
        self,
        settings: Settings,
        datasets: Datasets,
        *,
        beside: PausedProcesses | None = None,
        command: Sequence[str] = (sys.executable, "-c", _PROGRAM),
    ) -> None:
        self._settings = settings
        self._datasets = datasets
        self._folder = datasets.root / FOLDER
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None
        self._watched = 0  # Its id, or that of one that was begun by an earlier daemon.
        self._lock = threading.Lock()
        self._beside = beside or PausedProcesses()
        if self._is_running() and (pid := int(_read(self._folder / "state.json").get("pid", 0))):
            self._watch(pid)  # Begun by a daemon before this one.

    def close(self) -> None:
        """Let the process run on without this one."""
        self._beside.release(self._watched)

    def unavailable(self) -> str:
        """Return why nothing can be learnt on this machine, "" if it can."""
        if find_spec("tensorflow") is None:
            return (
                "Learning needs the extra [train], which is not installed on this machine; learn on another "
                "one from a copy of the data set, export the version there and upload the archive here"
            )
        return ""

    def start(
        self, product: str, by: str, *, false_reject: float = 0.01, detail: str = "usual"
    ) -> LearningState:
        """Begin to learn from the data set of `product`.

        Raises UsageError if that is not possible now, with the reason, and StorageFull.
        """
        if reason := self.unavailable():
            raise UsageError(reason)
        if detail not in PIXELS or not 0 < false_reject <= 0.5:
            raise UsageError("choose a share of false rejects up to 50 % and one of the details offered")
        count = len(self._datasets.names(product, TRAIN_GOOD))
        if count < IMAGES_MIN:
            raise UsageError(f"{product!r} has {count} good images, {IMAGES_MIN} are the least; collect more")
        job = {
            "product": product,
            "by": by,
            "started_ms": time.time_ns() // 1_000_000,
            "false_reject": false_reject,
            "pixels": PIXELS[detail],
            "datasets": str(self._datasets.root),
            "models": str(self._settings.models.path),
            "recipes": str(self._settings.models.recipes),
            "threads": self._threads(),
            "memory_bytes_max": self._settings.teach.memory_bytes_max,
        }
        with self._lock:
            self._reap()
            with self._locked() as lock:
                if lock is None:
                    raise UsageError("another product is being learnt; wait, or cancel it first")
                for name in ("state.json", "log", "cancelled"):
                    (self._folder / name).unlink(missing_ok=True)
                write_text(self._folder / "job.json", json.dumps(job, indent=1))
                self._spawn(lock)
        log.info("learning product=%s images=%d by=%r", product, count, by)
        return self.state()

    def cancel(self, by: str) -> None:
        """End the process; nothing of what it learnt so far is kept. Raises UsageError if none runs."""
        with self._lock:
            if not self._is_running():
                raise UsageError("nothing is being learnt now")
            own = self._process.pid if self._process else 0  # Before it wrote its state.
            pid = int(_read(self._folder / "state.json").get("pid", own))
            write_text(self._folder / "cancelled", by)
            with suppress(ProcessLookupError):
                if pid:
                    os.killpg(pid, signal.SIGKILL)
            until = time.monotonic() + END_S
            while self._is_running() and time.monotonic() < until:
                time.sleep(0.02)
            if self._process is not None:  # It gives up the lock a moment before it has ended.
                with suppress(subprocess.TimeoutExpired):
                    self._process.wait(END_S)
            self._reap()
        log.info("learning_cancelled by=%r", by)

    def state(self) -> LearningState:
        """Return how far the current or last learning is."""
        with self._lock:
            self._reap()
            running = self._is_running()
        job, state = _read(self._folder / "job.json"), _read(self._folder / "state.json")
        if not job:
            return LearningState()
        outcome = str(state.get("outcome", ""))
        if running:
            stage = LearningStage.RUNNING
        elif outcome:
            stage = LearningStage(outcome)
        elif (self._folder / "cancelled").exists():
            stage = LearningStage.CANCELLED
        else:
            stage = LearningStage.INTERRUPTED
        return LearningState(
            stage=stage,
            product=str(job["product"]),
            doing=str(state.get("doing", "")),
            share=float(state.get("share", 0.0)),
            sentence=str(state.get("sentence", "")),
            version=str(state.get("version", "")),
            by=str(job.get("by", "")),
            started_ms=int(job["started_ms"]),
            ended_ms=int(state.get("ended_ms", 0)),
            log=_tail(self._folder / "log"),
        )

    def _threads(self) -> int:
        """Return how many threads learn: all cores but one, which is the line's."""
        return self._settings.teach.threads or max(1, (os.cpu_count() or 1) - 1)

    def _spawn(self, lock: int) -> None:
        threads = str(self._threads())
        temporary = self._folder / "tmp"
        with translate_os_errors(self._folder), (self._folder / "log").open("wb") as output:
            temporary.mkdir(exist_ok=True)
            self._process = subprocess.Popen(
                [*self._command, str(self._folder), str(self._settings.teach.nice)],
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                start_new_session=True,  # It outlives the daemon, and Ctrl+C in the daemon's terminal.
                pass_fds=(lock,),  # Its copy of the descriptor keeps the lock.
                env=os.environ | dict.fromkeys(_THREADS, threads) | {"TMPDIR": str(temporary)},
            )
            self._watch(self._process.pid)

    def _watch(self, pid: int) -> None:
        self._beside.release(self._watched)
        self._beside.watch(pid)
        self._watched = pid

    @contextmanager
    def _locked(self) -> Iterator[int | None]:
        """Yield a descriptor that holds the lock, None if a process holds it."""
        with translate_os_errors(self._folder):
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        try:
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield None
            else:
                yield descriptor
        finally:
            os.close(descriptor)

    def _is_running(self) -> bool:
        if not (self._folder / "lock").exists():
            return False
        try:
            with self._locked() as lock:
                return lock is None
        except LinewatchError:
            return False

    def _reap(self) -> None:
        """Collect the exit status of a process that has ended."""
        if self._process is not None and self._process.poll() is not None:
            self._process = None
            self._beside.release(self._watched)


def _read(path: Path) -> Mapping[str, Any]:
    """Return a JSON object, {} if the file is missing or was cut off by a power cut."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def _tail(path: Path) -> tuple[str, ...]:
    """Return the last lines of a log."""
    try:
        with path.open("rb") as file:
            file.seek(max(0, path.stat().st_size - LOG_BYTES))
            text = file.read(LOG_BYTES).decode(errors="replace")
    except OSError:
        return ()
    return tuple(line.rstrip()[:200] for line in text.splitlines() if line.strip())[-LOG_LINES:]
