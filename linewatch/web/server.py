"""HTTP server: waitress in a thread of its own, with limits for slow and numerous clients."""

import errno
import json
import logging
import socket
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from types import TracebackType
from typing import Any, Self

from flask import Flask
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import BaseWSGIServer, create_server
from waitress.task import ErrorTask
from waitress.utilities import Error, RequestEntityTooLarge

from linewatch.errors import ConfigError, NotThereYet
from linewatch.runtime.listening import bind
from linewatch.web.texts import ENGLISH

log = logging.getLogger(__name__)

THREADS = 8
BACKLOG = 128
CONNECTIONS_MAX = 100
CONNECTIONS_EACH = 60  # From one address, so that no client uses up those of others and the health check.
REQUEST_S = 60  # From the first to the last byte of a request.
BODY_BYTES_MAX = 24_000_000  # Above the upload limit, so that the app itself refuses most uploads.
BODY_BYTES_READ = 100_000_000  # Larger bodies are refused without being read.
HEADER_BYTES_MAX = 16_384
UNSENT_BYTES_MAX = 524_288  # Of a response in pieces; it stays in memory, below what waitress puts in a file.
STALL_S = 60  # In each such span a client takes STALL_BYTES, or the rest of its response.
STALL_BYTES = 65_536
STOP_S = 3
RETRY_S = 2.0  # Between attempts to bind an address that this machine does not have yet.


class _Parser(HTTPRequestParser):
    """Discards a body that is too large: many clients read the response only after sending all of it."""

    _left = 0  # Bytes of such a body still to be received.

    def received(self, data: bytes) -> int:
        if self._left:
            taken = min(len(data), self._left)
            self._left -= taken
            self.completed = not self._left
            return taken
        consumed = super().received(data)
        if isinstance(self.error, RequestEntityTooLarge):
            if not self.expect_continue and 0 < self.content_length <= BODY_BYTES_READ:
                self._left, self.completed = self.content_length, False
            self.expect_continue = False  # With "Expect: 100-continue" the client need not send the body.
        return consumed


class _Refusal(ErrorTask):
    """The response to requests that never reach the app; like the app's own, JSON below /api."""

    def execute(self) -> None:
        error = vars(self.request)["error"]
        assert isinstance(error, Error)
        texts = ENGLISH.texts
        sentence = texts.get(f"error_{error.code}", texts["error_400"])
        kind, body = "text/plain; charset=utf-8", sentence
        if str(getattr(self.request, "path", "")).startswith("/api/"):
            kind, body = "application/json", json.dumps({"error": sentence})
        self.status = f"{error.code} {error.reason}"
        self.response_headers = [("Content-Type", kind)]
        self.set_close_on_finish()
        self.content_length = len(body.encode())
        self.write(body.encode())


class _Channel(HTTPChannel):
    """A connection whose time-out runs from the first byte of a request; more bytes do not extend it."""

    parser_class = _Parser
    error_task_class = _Refusal

    def __init__(self, server: Any, *rest: Any, **more: Any) -> None:
        super().__init__(server, *rest, **more)
        same = [other for other in server.active_channels.values() if other.addr[0] == self.addr[0]]
        self.will_close = len(same) > CONNECTIONS_EACH
        self._sent = self._sent_before = 0
        self._since_s = 0.0  # Since when there is something to send, or since the last check.

    def send(self, data: bytes, do_close: bool = True) -> int:
        """Send some bytes and count them."""
        sent = int(super().send(data, do_close))
        self._sent += sent
        return sent

    def close_if_stalled(self, now_s: float, stall_s: float) -> None:
        """Close the connection if its client takes next to nothing of the response: a thread waits for it."""
        if not self.total_outbufs_len:
            self._since_s = 0.0
        elif not self._since_s:
            self._since_s, self._sent_before = now_s, self._sent
        elif now_s - self._since_s >= stall_s:
            if self._sent - self._sent_before < STALL_BYTES:
                log.info("client_stalled from=%s bytes=%d", self.addr[0], self._sent)
                self.handle_close()
            self._since_s, self._sent_before = now_s, self._sent

    def handle_read(self) -> None:
        since = self.last_activity if self.request is not None else None
        super().handle_read()
        if since is not None and self.request is not None:
            self.last_activity = since


class WebServer:
    """Serves an app inside a `with` block; on leaving, requests in progress are finished.

    After entering, `port` is the port in use, also when 0 asked for any free one. An address that this
    machine does not have yet is bound once it has it; `on_change` gets the reason, then "".
    """

    def __init__(
        self,
        app: Flask,
        host: str,
        port: int,
        *,
        request_s: int = REQUEST_S,
        stall_s: float = STALL_S,
        stopping: threading.Event | None = None,
        on_change: Callable[[str], None] = lambda _: None,
        retry_s: float = RETRY_S,
    ) -> None:
        self._app = app
        self._host = host
        self._request_s = request_s
        self._stall_s = stall_s
        self._on_change = on_change
        self._retry_s = retry_s
        self._server: BaseWSGIServer | None = None  # None until the address is bound.
        self._leaving = threading.Event()
        self._binding = threading.Lock()  # On leaving, either the server exists or it is never made.
        self.port = port
        self._channels: dict[int, socket.socket] = {}  # Waitress's socket map, by file descriptor.
        self._stopping = stopping or threading.Event()  # Set by the loop itself.
        self._thread = threading.Thread(target=self._serve, name="web", daemon=True)

    @property
    def running(self) -> bool:
        """Whether the server's thread is alive."""
        return self._thread.is_alive()

    @property
    def address(self) -> str:
        """The URL of the page."""
        host = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(self._host, self._host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"

    def __enter__(self) -> Self:
        """Bind and start. Raises ConfigError when the address is not available."""
        # Waitress warns of every request that waits; a few polling tablets would fill the log.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
        try:
            self._bind()
            log.info("page address=%s", self.address)
        except NotThereYet as trouble:
            log.warning("page_waits reason=%r", str(trouble))
            self._on_change(str(trouble))
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._binding:
            self._leaving.set()
        trigger: Any = self._server.trigger if self._server else None  # The stubs declare it an int.
        if self.running and trigger is not None:
            # Set by the loop once it is awake: set before, the loop could close the trigger while in use.
            with suppress(OSError):  # Another thread's pull can end the loop before this one's.
                trigger.pull_trigger(self._stopping.set)
        self._thread.join(2 * STOP_S)

    def _bind(self) -> None:
        listener = listen(self._host, self.port)
        server = create_server(
            self._app,
            map=self._channels,
            sockets=[listener],
            threads=THREADS,
            connection_limit=CONNECTIONS_MAX,
            channel_timeout=self._request_s,
            cleanup_interval=min(10, self._request_s),
            max_request_body_size=BODY_BYTES_MAX,
            max_request_header_size=HEADER_BYTES_MAX,
            outbuf_high_watermark=UNSENT_BYTES_MAX,
            ident="linewatch",
            clear_untrusted_proxy_headers=False,  # web/proxy.py reads them.
        )
        assert isinstance(server, BaseWSGIServer), "one socket makes one server"
        server.channel_class = _Channel
        self.port = listener.getsockname()[1]
        self._server = server

    def _await_address(self) -> bool:
        """Bind the address once this machine has it; return False if the block is left before."""
        while self._server is None:
            if self._leaving.wait(self._retry_s):
                return False
            try:
                with self._binding:
                    if self._leaving.is_set():
                        return False
                    self._bind()
            except ConfigError as trouble:  # Also a port that was taken meanwhile.
                self._on_change(str(trouble))
            else:
                log.info("page address=%s", self.address)
                self._on_change("")
        return True

    def _serve(self) -> None:
        if not self._await_address():
            return
        assert self._server is not None
        try:
            while not self._stopping.is_set():
                self._turn(1.0)
            self._server.task_dispatcher.shutdown(timeout=STOP_S)  # Responses in progress are written
            until = time.monotonic() + STOP_S
            while self._unsent() and time.monotonic() < until:
                self._turn(0.1)  # and sent.
        finally:
            wasyncore.close_all(self._channels, ignore_all=True)

    def _unsent(self) -> bool:
        return any(
            isinstance(channel, HTTPChannel) and channel.total_outbufs_len > 0
            for channel in self._channels.values()
        )

    def _turn(self, wait_s: float) -> None:
        wasyncore.loop(timeout=min(wait_s, self._stall_s), use_poll=True, map=self._channels, count=1)
        now_s = time.monotonic()
        for channel in list(self._channels.values()):
            if isinstance(channel, _Channel):
                channel.close_if_stalled(now_s, self._stall_s)


def listen(host: str, port: int) -> socket.socket:
    """Bind an address. Raises ConfigError when it is taken, NotThereYet while this machine lacks it."""
    try:
        return bind(host, port, BACKLOG)
    except OSError as error:
        unresolved = (error.errno or 0) < 0  # Codes of getaddrinfo.
        if unresolved or error.errno == errno.EADDRNOTAVAIL:
            raise NotThereYet(
                f"http: this machine does not have the address {host} ({error.strerror}); "
                "set http.host to one of its own, or check the network"
            ) from error
        raise ConfigError(
            f"http: cannot listen on {host}:{port} ({error.strerror}); "
            "stop the program that uses it, or set another http.host or http.port"
        ) from error
