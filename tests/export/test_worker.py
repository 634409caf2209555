"""An export in a process of its own: whole, or known not to be; it ends with its reader."""

import io
import json
import os
import shutil
import signal
import zipfile
from dataclasses import replace
from pathlib import Path

import pytest

from linewatch.domain import Reason, Result
from linewatch.errors import LinewatchError
from linewatch.export import worker as module
from linewatch.export.worker import ZIP, ExportApart, Order
from linewatch.runtime.paused_processes import PausedProcesses
from linewatch.storage.journal import Journal
from linewatch.storage.journal_schema import set_aside
from linewatch.storage.journal_search import Conditions
from tests.export.parts import failed_parts, journal_of

ROWS = 3_000


@pytest.fixture(scope="module")
def journal(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the file of a journal of 3,000 parts."""
    return journal_of(tmp_path_factory.mktemp("export") / "journal.db", ROWS)


def order(path: Path, form: str = "jsonl", **more: object) -> Order:
    """Return an order for all that is in a journal."""
    usual = Order(path, path.parent, form, Conditions(), None, 10**6)
    return replace(usual, **more)  # type: ignore[arg-type]


def seqs(export: ExportApart) -> list[int]:
    """Return the sequence numbers of an export's rows."""
    return [json.loads(line)["seq"] for line in b"".join(export).splitlines()]


def test_all_rows_come_newest_first(journal: Path) -> None:
    """Those before a part and no more than the limit, if they are set."""
    assert seqs(ExportApart(order(journal))) == list(range(ROWS, 0, -1))
    assert seqs(ExportApart(order(journal, before=(1, 100), limit=3))) == [99, 98, 97]
    assert b"".join(ExportApart(order(journal, "csv", limit=1))).count(b"\r\n") == 2


def test_an_order_arrives_as_it_was_given() -> None:
    """Every condition of a search."""
    wanted = Conditions(
        results=frozenset({Result.FAIL, Result.UNSURE}),
        product="bottle",
        reason=Reason.NONE,
        part="\x1dgrün 🙂",
        region="rim",
        model="7f3a91c2",
        since_ms=1,
        until_ms=2,
        reviewed=True,
        reviewer="anna",
        has_image=True,
    )
    given = Order(Path("a b"), Path("c"), "csv", wanted, (41, 7), 5)

    assert Order.from_json(given.as_json()) == given
    assert Order.from_json(replace(given, before=None, wanted=Conditions()).as_json()).before is None


def test_a_journal_that_is_not_there_is_one_sentence(tmp_path: Path) -> None:
    """And none is made: the daemon may be replacing it."""
    with pytest.raises(LinewatchError, match="there is no journal"):
        ExportApart(order(tmp_path / "journal.db"))

    assert not list(tmp_path.iterdir())


def test_a_damaged_journal_is_one_sentence(tmp_path: Path) -> None:
    """Before the first byte of the export."""
    path = tmp_path / "journal.db"
    path.write_bytes(b"no database at all " * 1_000)

    with pytest.raises(LinewatchError, match="damaged"):
        ExportApart(order(path))


def test_an_export_goes_on_while_the_journal_is_replaced(tmp_path: Path) -> None:
    """It has the rows of the file that it began with; the next one has those of the new file."""
    path = journal_of(tmp_path / "journal.db", ROWS)
    export = ExportApart(order(path))
    first = next(export)

    set_aside(path)
    with Journal.open(path):
        rows = (first + b"".join(export)).splitlines()

    assert len(rows) == ROWS
    assert seqs(ExportApart(order(path))) == []


def test_images_that_retention_removes_meanwhile_are_left_out(tmp_path: Path) -> None:
    """The archive is whole, and says how many are missing."""
    path = failed_parts(tmp_path, 60, os.urandom(100_000))
    export = ExportApart(order(path, ZIP))
    pieces = [next(export)]

    shutil.rmtree(tmp_path / "2026-11-27")
    pieces += export

    with zipfile.ZipFile(io.BytesIO(b"".join(pieces))) as archive:
        assert archive.testzip() is None
        images = sum(name.endswith(".jpg") for name in archive.namelist())
        assert 0 < images < 60
        said = archive.read("export.txt").decode()
    assert (
        said == f"{images} images of 60 parts; {60 - images} images were not kept, or are no longer there.\n"
    )


def test_an_export_whose_process_dies_is_known_to_be_broken(journal: Path) -> None:
    """However it dies; one that took too long says so."""
    for number, says in ((signal.SIGKILL, "before its end"), (signal.SIGALRM, "longer than 2 hours")):
        export = ExportApart(order(journal))
        next(export)

        os.kill(export._process.pid, number)

        with pytest.raises(LinewatchError, match=says):
            list(export)
        assert list(export) == [], "it stays ended"


def test_a_process_ends_with_its_reader(journal: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without being killed, as after the daemon's death."""
    export = ExportApart(order(journal))
    next(export)

    export._out.close()

    assert export._process.wait(10) == 0
    with pytest.raises(BrokenPipeError):
        read, write = os.pipe()
        os.close(read)
        module._Rest(write)(5.0)


def test_no_thread_of_the_line_waits_for_it(journal: Path) -> None:
    """Its priority is that of an idle process."""
    export = ExportApart(order(journal))

    assert os.sched_getscheduler(export._process.pid) == os.SCHED_IDLE

    export.close()


def test_closing_ends_it_at_once(journal: Path) -> None:
    """Twice does no harm, and nothing is left of it."""
    export = ExportApart(order(journal))

    export.close()
    export.close()

    assert export._process.returncode == -signal.SIGKILL
    assert list(export) == []


def test_an_export_stands_still_while_a_part_is_judged(journal: Path) -> None:
    """It goes on afterwards and is whole; one that is closed meanwhile ends."""
    beside = PausedProcesses()
    export = ExportApart(order(journal), beside)
    pieces = [next(export)]
    beside.give_way(True)
    status = Path(f"/proc/{export._process.pid}/status")
    while "T (stopped)" not in status.read_text():
        os.sched_yield()
    beside.give_way(False)
    pieces += export
    assert b"".join(pieces).count(b"\n") == ROWS

    closed = ExportApart(order(journal), beside)
    beside.give_way(True)
    closed.close()
    assert closed._process.returncode == -signal.SIGKILL
