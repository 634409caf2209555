import errno
import http.client
import logging
import socket
import threading
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from linewatch.errors import ConfigError
from linewatch.web import WebServer, create_app
from linewatch.web.server import CONNECTIONS_EACH
from tests.fakes import FakeBackend
from tests.multipart import upload
from tests.web.client import TOKEN, png

WAIT_S = 10


@pytest.fixture
def backend() -> FakeBackend:
    """Return a backend without parts."""
    return FakeBackend()


@pytest.fixture
def app(backend: FakeBackend, tmp_path: Path) -> Flask:
    """Build the app over `backend`."""
    return create_app(backend, lambda: (b"", "text/plain"), TOKEN, tmp_path)


@pytest.fixture
def server(app: Flask) -> Iterator[WebServer]:
    """Start the server on a free port."""
    with WebServer(app, "127.0.0.1", 0) as server:
        yield server


def get(server: WebServer, path: str, source: str = "127.0.0.1") -> int:
    """Send one GET request and return the status."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=WAIT_S, source_address=(source, 0))
    try:
        connection.request("GET", path)
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def post_image(server: WebServer) -> int:
    """Upload a small image and return the status."""
    body, content_type = upload(png())
    connection = HTTPConnection("127.0.0.1", server.port, timeout=WAIT_S)
    try:
        connection.request("POST", "/api/inspect", body, {"Content-Type": content_type})
        response = connection.getresponse()
        response.read()
        return response.status
    finally:
        connection.close()


def test_it_serves_on_a_free_port_until_the_block_ends(app: Flask) -> None:
    """Port 0 is any free port, readable as `port` and `address`; afterwards connections are refused."""
    with WebServer(app, "127.0.0.1", 0) as server:
        assert server.address == f"http://127.0.0.1:{server.port}/"
        assert get(server, "/healthz") == 200
        was_running = server.running

    assert (was_running, server.running) == (True, False)
    with pytest.raises(ConnectionRefusedError):
        get(server, "/healthz")


def test_the_loop_may_end_as_soon_as_it_is_stopped(app: Flask) -> None:
    """Stopping never writes to a file descriptor that the loop has closed already."""

    class JoiningEvent(threading.Event):
        def set(self) -> None:
            super().set()
            for thread in threading.enumerate():
                if thread.name == "web" and thread is not threading.current_thread():
                    thread.join(WAIT_S)

    with WebServer(app, "127.0.0.1", 0, stopping=JoiningEvent()) as server:
        assert get(server, "/healthz") == 200

    assert not server.running


def test_a_taken_port_is_one_sentence(server: WebServer, app: Flask) -> None:
    """The error names the address and what to do."""
    with (
        pytest.raises(
            ConfigError, match=rf"cannot listen on 127\.0\.0\.1:{server.port} .* set another http\.host"
        ),
        WebServer(app, "127.0.0.1", server.port),
    ):
        pass


def test_an_address_that_is_not_there_yet_is_awaited(app: Flask, monkeypatch: pytest.MonkeyPatch) -> None:
    """At boot a network address may come late: the page says so and appears with it."""
    changes: list[str] = []
    bound, there = threading.Event(), threading.Event()
    create = socket.create_server

    def create_server(address: tuple[str, int], **options: Any) -> socket.socket:
        if not there.is_set():
            raise OSError(errno.EADDRNOTAVAIL, "Cannot assign requested address")
        return create(("127.0.0.1", address[1]), **options)

    def changed(trouble: str) -> None:
        changes.append(trouble)
        if not trouble:
            bound.set()

    monkeypatch.setattr(socket, "create_server", create_server)
    with WebServer(app, "192.0.2.7", 0, on_change=changed, retry_s=0.01) as server:
        assert server.running and server.port == 0
        there.set()
        assert bound.wait(WAIT_S)
        with urllib.request.urlopen(f"http://127.0.0.1:{server.port}/healthz", timeout=WAIT_S) as response:
            assert response.status == 200

    assert "this machine does not have the address 192.0.2.7" in changes[0]
    assert not server.running


@pytest.mark.parametrize("host", ["192.0.2.7", "no-such-host.invalid"])
def test_a_server_that_never_gets_its_address_ends_at_once(app: Flask, host: str) -> None:
    """Neither a foreign address nor an unknown name keeps the process from starting or stopping."""
    with WebServer(app, host, 0, retry_s=60) as server:
        assert server.running

    assert not server.running


@pytest.mark.skipif(not socket.has_dualstack_ipv6(), reason="this machine has no IPv6")
def test_the_address_of_all_networks_serves_both_kinds(app: Flask) -> None:
    """The address "::" answers IPv4 and IPv6, as people expect of it."""
    with WebServer(app, "::", 0) as server:
        for host in ("127.0.0.1", "[::1]"):
            with urllib.request.urlopen(f"http://{host}:{server.port}/healthz", timeout=WAIT_S) as response:
                assert response.status == 200


def test_a_request_in_progress_is_answered_before_the_end(backend: FakeBackend, app: Flask) -> None:
    """On stopping, a request in progress still gets its response."""
    started, go_on = threading.Event(), threading.Event()

    def slow() -> None:
        started.set()
        assert go_on.wait(WAIT_S)

    backend.during_inspect = slow
    with ThreadPoolExecutor(1) as pool:
        with WebServer(app, "127.0.0.1", 0) as server:
            answer = pool.submit(post_image, server)
            assert started.wait(WAIT_S)
            threading.Timer(0.2, go_on.set).start()  # While the block is ending.
        assert answer.result(WAIT_S) == 200


def test_uploads_are_inspected_one_at_a_time_and_only_a_few_wait(
    backend: FakeBackend, server: WebServer
) -> None:
    """Four uploads are inspected one after the other, the rest get 503, and pages are served meanwhile."""
    lock, go_on, full = threading.Lock(), threading.Event(), threading.Event()
    answers: list[int] = []

    def slow() -> None:
        assert lock.acquire(blocking=False), "two at a time"
        assert go_on.wait(WAIT_S)
        lock.release()

    def upload() -> None:
        answers.append(post_image(server))
        if len(answers) == 6:
            full.set()

    backend.during_inspect = slow
    clients = [threading.Thread(target=upload) for _ in range(10)]
    for client in clients:
        client.start()
    assert full.wait(WAIT_S), "six of ten are refused at once"
    assert get(server, "/healthz") == 200
    go_on.set()
    for client in clients:
        client.join(WAIT_S)

    assert sorted(answers) == [200] * 4 + [503] * 6


def test_one_address_does_not_take_every_connection(server: WebServer) -> None:
    """Connections beyond the limit are closed; other addresses are served."""
    with ExitStack() as opened:
        held = [
            opened.enter_context(socket.create_connection(("127.0.0.1", server.port), WAIT_S))
            for _ in range(CONNECTIONS_EACH)
        ]
        for connection in held:
            connection.sendall(b"GET / HTTP/1.1\r\n")  # And never more.
        with pytest.raises((ConnectionError, HTTPException)):
            get(server, "/api/state")

        assert get(server, "/api/state", source="127.0.0.2") == 200


def test_a_request_that_drips_in_is_cut_off(app: Flask) -> None:
    """A client that sends a byte now and then is disconnected after the time-out."""
    with (
        WebServer(app, "127.0.0.1", 0, request_s=1) as server,
        socket.create_connection(("127.0.0.1", server.port)) as connection,
    ):
        connection.settimeout(0.1)
        connection.sendall(b"GET / HTTP/1.1\r\nX-Slow: ")

        assert drip_until_closed(connection) < 60


def drip_until_closed(connection: socket.socket) -> int:
    """Send a byte every 0.1 s; return how many were sent before the server closed the connection."""
    for sent in range(WAIT_S * 10):
        try:
            connection.sendall(b"a")
            if connection.recv(100) == b"":
                return sent
        except TimeoutError:
            continue
        except ConnectionError:
            return sent
    return WAIT_S * 10


def test_too_much_is_refused_before_it_is_sent(server: WebServer) -> None:
    """200 MB are refused by their Content-Length with 413, and oversized headers with 431."""
    with socket.create_connection(("127.0.0.1", server.port), WAIT_S) as connection:
        connection.sendall(
            b"POST /api/inspect HTTP/1.1\r\nHost: x\r\nContent-Length: 200000000\r\n"
            b"Content-Type: multipart/form-data; boundary=x\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 413")
    with socket.create_connection(("127.0.0.1", server.port), WAIT_S) as connection:
        connection.sendall(b"GET / HTTP/1.1\r\nX: " + b"a" * 20_000 + b"\r\n\r\n")
        assert connection.recv(100).split(b" ")[1] == b"431"


@pytest.mark.parametrize(
    ("path", "kind", "answer"),
    [
        ("/api/inspect", "application/json", '{"error": "The upload is too large; '),
        ("/inspect", "text/plain; charset=utf-8", "The upload is too large; "),
    ],
)
def test_a_client_that_sends_far_too_much_gets_a_sentence(
    server: WebServer, path: str, kind: str, answer: str
) -> None:
    """A body above the server's own limit gets 413 with one sentence, as JSON below /api."""
    connection = HTTPConnection("127.0.0.1", server.port, timeout=WAIT_S)
    connection.request("POST", path, bytes(30_000_000), {"Content-Type": "multipart/form-data; boundary=x"})
    response = connection.getresponse()

    assert (response.status, response.headers["Content-Type"]) == (413, kind)
    assert response.read().decode().startswith(answer)
    connection.close()
    assert get(server, "/healthz") == 200


def test_a_client_that_asks_before_sending_too_much_need_not_send(server: WebServer) -> None:
    """With `Expect: 100-continue` the answer is 413 instead of 100."""
    with socket.create_connection(("127.0.0.1", server.port), WAIT_S) as connection:
        connection.sendall(
            b"POST /api/inspect HTTP/1.1\r\nHost: x\r\nContent-Length: 30000000\r\n"
            b"Expect: 100-continue\r\nContent-Type: multipart/form-data; boundary=x\r\n\r\n"
        )
        assert connection.recv(100).startswith(b"HTTP/1.1 413")


@pytest.mark.parametrize(
    "request_line",
    [
        b"\0\0\0\0",
        b"GET",
        b"GET /../../etc/passwd HTTP/1.1",
        b"GET http://evil/ HTTP/1.1",
        b"\xff\xfe / HTTP/1.1",
    ],
)
def test_malformed_requests_do_not_stop_the_server(server: WebServer, request_line: bytes) -> None:
    """Malformed requests are refused, and the next request is served."""
    with socket.create_connection(("127.0.0.1", server.port), WAIT_S) as connection:
        connection.sendall(request_line + b"\r\nHost: x\r\nConnection: close\r\n\r\n")
        answer = connection.recv(1000)

    assert b" 500 " not in answer and b"root:" not in answer
    assert get(server, "/healthz") == 200


def test_many_clients_do_not_fill_the_log(server: WebServer, caplog: pytest.LogCaptureFixture) -> None:
    """Twenty clients at once cause no warning."""
    with caplog.at_level(logging.WARNING), ThreadPoolExecutor(20) as pool:
        statuses = list(pool.map(lambda _: get(server, "/"), range(100)))

    assert statuses == [http.client.OK] * 100
    assert caplog.records == []
