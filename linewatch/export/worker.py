"""An export in a process of idle priority: what the page and the API send is only passed on.

The process first says on its standard output that it has opened the journal, or one sentence why not; then
come the bytes of the export, as fast as they are taken. It ends when they are not taken any more.
"""

import json
import os
import select
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

from linewatch.domain import Reason, Result
from linewatch.errors import LinewatchError
from linewatch.export.archive import Archive
from linewatch.export.rows import Form, verdict_lines
from linewatch.runtime.paused_processes import PausedProcesses
from linewatch.storage.export import Exported, export
from linewatch.storage.journal_reader import JournalFile, JournalReader
from linewatch.storage.journal_search import Conditions

ZIP = "zip"
CHUNK_BYTES = 65_536
LONGEST_S = 7_200  # Then it is ended, whatever it does.
_PROGRAM = """
from linewatch.runtime.priority import give_way, run_when_idle, run_when_orphaned
give_way(19)
run_when_idle()
run_when_orphaned()
from linewatch.export.worker import main
main()
"""
_READY = {"ready": True}


@dataclass(frozen=True, slots=True)
class Order:
    """What to export, newest first."""

    journal: Path
    evidence: Path
    form: str  # One of `Form`, or ZIP.
    wanted: Conditions
    before: tuple[int, int] | None  # (boot, seq)
    limit: int

    def as_json(self) -> str:
        """Return it as text."""
        paths = {"journal": str(self.journal), "evidence": str(self.evidence)}
        results = sorted(self.wanted.results)
        return json.dumps(asdict(self) | paths | {"wanted": asdict(self.wanted) | {"results": results}})

    @classmethod
    def from_json(cls, text: str) -> Self:
        """Return what `as_json` gave."""
        order: dict[str, Any] = json.loads(text)
        wanted = order["wanted"]
        wanted["results"] = frozenset(map(Result, wanted["results"]))
        wanted["reason"] = None if wanted["reason"] is None else Reason(wanted["reason"])
        before = tuple(order["before"]) if order["before"] else None
        paths = {name: Path(order[name]) for name in ("journal", "evidence")}
        return cls(**(order | paths | {"wanted": Conditions(**wanted), "before": before}))


class ExportApart:
    """The bytes of one export; `close` ends it, and may be called at any time.

    `beside` makes its process give way to the line. Raises LinewatchError if it cannot begin, and while it
    is read if it ends before its end.
    """

    def __init__(self, order: Order, beside: PausedProcesses | None = None) -> None:
        self._beside = beside
        try:
            self._process = subprocess.Popen(
                [sys.executable, "-c", _PROGRAM, order.as_json()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                start_new_session=True,
            )
        except OSError as error:
            raise LinewatchError(f"no process for it now ({error.strerror}); try again later") from error
        if beside is not None:
            beside.watch(self._process.pid)
        assert self._process.stdout is not None
        self._out = self._process.stdout
        said = self._out.readline()
        if said != _line(_READY):
            self.close()
            raise LinewatchError(json.loads(said)["error"] if said else _broken(self._process.returncode))

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        """Return the next bytes. Raises LinewatchError if the process ended before the export did."""
        if self._out.closed:
            raise StopIteration
        if chunk := self._out.read1(CHUNK_BYTES):  # type: ignore[attr-defined]  # it is buffered
            return bytes(chunk)
        status = self._process.wait()
        self.close()
        if status:
            raise LinewatchError(_broken(status))
        raise StopIteration

    def close(self) -> None:
        """End the process."""
        if self._beside is not None:
            self._beside.release(self._process.pid)
        self._process.kill()
        self._process.wait()
        self._out.close()


def main() -> None:
    """Export what the first argument says to standard output."""
    signal.alarm(LONGEST_S)
    out = os.fdopen(
        os.dup(sys.stdout.fileno()), "wb", CHUNK_BYTES
    )  # Few pieces are little work for the daemon.
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # What libraries print goes to the log.
    order = Order.from_json(sys.argv[1])
    try:
        with out, JournalReader(JournalFile(order.journal)) as reader:
            if trouble := _trouble(order, reader):
                out.write(_line({"error": trouble}))
                return
            out.write(_line(_READY))
            out.flush()
            rest = _Rest(out.fileno())
            rows = islice(export(reader, order.wanted, before=order.before, rest=rest), order.limit)
            out.writelines(_bytes(order, rows))
    except BrokenPipeError:
        os._exit(0)  # It is not read any more; what is buffered cannot be written.
    except (LinewatchError, OSError) as trouble:
        print(f"export_failed reason={str(trouble)!r}", file=sys.stderr, flush=True)
        os._exit(1)


def _trouble(order: Order, reader: JournalReader) -> str:
    """Return why the journal cannot be searched, "" if it can."""
    if not order.journal.is_file():  # SQLite would make one.
        return f"there is no journal {str(order.journal)!r} now; try again in a minute"
    try:
        reader.search(1, order.wanted, budget_s=0)
    except LinewatchError as trouble:
        return str(trouble)
    return ""


def _bytes(order: Order, rows: Iterator[Exported]) -> Iterator[bytes]:
    if order.form != ZIP:
        yield from (line.encode() for line in verdict_lines(rows, Form(order.form)))
        return
    archive = Archive(order.evidence)
    for verdict, review in rows:
        yield from archive.add(verdict, review)
        if archive.full:
            break
    yield from archive.finish()


class _Rest:
    """Rests between two searches; ends them if the other end of the pipe was closed meanwhile."""

    def __init__(self, fd: int) -> None:
        self._poll = select.poll()
        self._poll.register(fd, 0)  # An error is always reported.

    def __call__(self, seconds: float) -> None:
        if self._poll.poll(1000 * seconds):
            raise BrokenPipeError


def _line(said: dict[str, Any]) -> bytes:
    return json.dumps(said).encode() + b"\n"


def _broken(status: int) -> str:
    if status == -signal.SIGALRM:
        return f"the export took longer than {LONGEST_S // 3600} hours and was ended; export a shorter time"
    return f"the export ended before its end (status {status}); see the log of the station"
