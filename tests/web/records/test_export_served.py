"""Exports from a real server and a real process: many at once, slow readers, and clients that go."""

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from http.client import HTTPConnection, HTTPException, IncompleteRead
from pathlib import Path

import pytest

from linewatch.models.scoring_worker import ScoringWorker
from linewatch.settings import ModelsSettings
from linewatch.storage.journal import Journal
from linewatch.web import WebServer, create_app
from linewatch.web.office_backend import OfficeBackend
from tests.export.parts import journal_of
from tests.fakes import FakeBackend, FakeExport
from tests.web.client import BEARER, TOKEN

ROWS = 30_000
WAIT_S = 60


@pytest.fixture(scope="module")
def office(tmp_path_factory: pytest.TempPathFactory) -> Iterator[OfficeBackend]:
    """Return a backend on a journal whose export is larger than all buffers of a connection."""
    folder = tmp_path_factory.mktemp("office")
    journal_of(folder / "journal.db", ROWS, image="x" * 100, heatmap="y" * 100)
    models = ModelsSettings(path=folder / "models", recipes=folder / "recipes")
    with Journal.open(folder / "journal.db") as journal, ScoringWorker(models, "station1") as worker:
        yield OfficeBackend("station1", journal, models, worker)


@pytest.fixture
def server(office: OfficeBackend, tmp_path: Path) -> Iterator[WebServer]:
    """Serve it; a client may stall for half a second."""
    app = create_app(office, lambda: (b"", "text/plain"), TOKEN, tmp_path)
    with WebServer(app, "127.0.0.1", 0, stall_s=0.5) as server:
        yield server


def ask(server: WebServer, path: str = "/api/export", source: str = "127.0.0.1") -> HTTPConnection:
    """Send a request; the connection's buffers hold less than an export."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=WAIT_S, source_address=(source, 0))
    connection.request("GET", path, headers=BEARER)
    return connection


def get(server: WebServer, path: str = "/api/export", source: str = "127.0.0.1") -> tuple[int, bytes]:
    """Return status and body of one request."""
    connection = ask(server, path, source)
    try:
        answer = connection.getresponse()
        return answer.status, answer.read()
    finally:
        connection.close()


def export_soon(server: WebServer) -> list[int]:
    """Export three rows as soon as no other export is running."""
    until = time.monotonic() + WAIT_S
    while True:
        status, body = get(server, "/api/export?limit=3")
        if status == 200:
            return [json.loads(line)["seq"] for line in body.splitlines()]
        assert status == 503 and time.monotonic() < until, body
        threading.Event().wait(0.05)


def test_a_client_that_takes_nothing_holds_nothing(server: WebServer) -> None:
    """It is cut off after a while, and cannot take what it got for the whole."""
    with_nothing_read = ask(server)
    answer = with_nothing_read.getresponse()
    assert answer.status == 200
    assert get(server)[0] == 503

    assert export_soon(server) == [ROWS, ROWS - 1, ROWS - 2]
    with pytest.raises((IncompleteRead, ConnectionError)):
        answer.read()
    with_nothing_read.close()


def test_a_client_that_goes_holds_nothing(server: WebServer) -> None:
    """In the middle of an export, or before it has begun."""
    for read in (1_000, 0):
        connection = ask(server)
        if read:
            connection.getresponse().read(read)
        connection.close()

        assert export_soon(server) == [ROWS, ROWS - 1, ROWS - 2]


def test_a_slow_client_gets_everything(server: WebServer) -> None:
    """As long as it takes some of it."""
    connection = ask(server, "/api/export?limit=12000")
    answer = connection.getresponse()
    body = b""
    while piece := answer.read(1_000_000):
        body += piece
        threading.Event().wait(0.1)
    connection.close()

    assert body.count(b"\n") == 12_000


def test_of_a_hundred_exports_one_runs_at_a_time(server: WebServer) -> None:
    """The others are told when to try again, and the page answers meanwhile."""
    begin = threading.Barrier(101)

    def one(number: int) -> int:
        begin.wait(WAIT_S)
        try:
            return get(server, "/api/export?limit=2000", f"127.0.0.{1 + number % 4}")[0]
        except (HTTPException, ConnectionError):
            return 0  # More connections than the server takes.

    with ThreadPoolExecutor(101) as pool:
        asked = [pool.submit(one, number) for number in range(100)]
        begin.wait(WAIT_S)
        alive = get(server, "/healthz", "127.0.0.9")[0]
        statuses = Counter(each.result() for each in asked)

    assert alive == 200
    assert set(statuses) <= {0, 200, 503}
    assert statuses[200] >= 1 and statuses[503] >= 50, statuses
    assert export_soon(server) == [ROWS, ROWS - 1, ROWS - 2]


def test_an_export_that_breaks_ends_in_an_error_of_the_client(tmp_path: Path) -> None:
    """HTTP/1.1 has a mark for the end, which is missing."""
    backend = FakeBackend()
    backend.exports = [FakeExport(b"one", b"two", trouble="the disk failed")]
    app = create_app(backend, lambda: (b"", "text/plain"), TOKEN, tmp_path)

    with WebServer(app, "127.0.0.1", 0) as server, pytest.raises(http.client.IncompleteRead) as caught:
        get(server)

    assert caught.value.partial == b"onetwo"
