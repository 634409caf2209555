"""The web server: waitress in its own thread, with bounds for slow and many clients."""

import json
import logging
import socket
import threading
import time
from types import TracebackType
from typing import Any, Self

from flask import Flask
from waitress import wasyncore
from waitress.channel import HTTPChannel
from waitress.parser import HTTPRequestParser
from waitress.server import BaseWSGIServer, create_server
from waitress.task import ErrorTask
from waitress.utilities import Error, RequestEntityTooLarge

from linewatch.errors import ConfigError
from linewatch.web.texts import ENGLISH

THREADS = 8
CONNECTIONS_MAX = 100
CONNECTIONS_EACH = 60  # From one address: nobody takes all of them, and the health check its own.
REQUEST_S = 60  # A whole request must have arrived this long after its first byte.
BODY_BYTES_MAX = 24_000_000  # Above the upload limit, so that the page itself can say what is wrong.
BODY_BYTES_READ = 100_000_000  # A larger body is not even read to its end before it is refused.
HEADER_BYTES_MAX = 16_384
STOP_S = 3


class _Parser(HTTPRequestParser):
    """Reads a body that is too large to its end, keeping nothing: many clients only listen after that."""

    _left = 0  # Bytes of such a body that are still to come.

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
            self.expect_continue = False  # Who asks before sending need not send.
        return consumed


class _Refusal(ErrorTask):
    """The answer to what the app never sees: like the app's own, JSON for programs."""

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
    """A connection whose request must arrive whole in time: dripping bytes buys no more of it."""

    parser_class = _Parser
    error_task_class = _Refusal

    def __init__(self, server: Any, *rest: Any, **more: Any) -> None:
        super().__init__(server, *rest, **more)
        same = [other for other in server.active_channels.values() if other.addr[0] == self.addr[0]]
        self.will_close = len(same) > CONNECTIONS_EACH

    def handle_read(self) -> None:
        since = self.last_activity if self.request is not None else None
        super().handle_read()
        if since is not None and self.request is not None:
            self.last_activity = since


class WebServer:
    """Serves an app from entering until leaving the `with` block; requests in hand are finished.

    `port` is the real one after entering, also when 0 asked for any free port.
    """

    def __init__(self, app: Flask, host: str, port: int, *, request_s: int = REQUEST_S) -> None:
        self._app = app
        self._host = host
        self._request_s = request_s
        self.port = port
        self._channels: dict[int, socket.socket] = {}  # What waitress watches, by file descriptor.
        self._stopping = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="web", daemon=True)

    @property
    def running(self) -> bool:
        """Whether the server's thread lives."""
        return self._thread.is_alive()

    @property
    def address(self) -> str:
        """Where a browser finds the page."""
        host = {"0.0.0.0": socket.gethostname(), "::": socket.gethostname()}.get(self._host, self._host)
        return f"http://{f'[{host}]' if ':' in host else host}:{self.port}/"

    def __enter__(self) -> Self:
        """Bind and start. Raises ConfigError when the address cannot be had."""
        # Its warning for every short queue would fill the log whenever a few tablets poll at once.
        logging.getLogger("waitress.queue").setLevel(logging.ERROR)
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
            ident="linewatch",
        )
        assert isinstance(server, BaseWSGIServer), "one socket makes one server"
        server.channel_class = _Channel
        self._server = server
        self.port = listener.getsockname()[1]
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        wake: Any = self._server.trigger  # The stubs take it for a number.
        if self.running:
            # The loop tells itself: told before it is woken, it may have closed what wakes it.
            wake.pull_trigger(self._stopping.set)
        self._thread.join(2 * STOP_S)

    def _serve(self) -> None:
        try:
            while not self._stopping.is_set():
                self._turn(1.0)
            self._server.task_dispatcher.shutdown(timeout=STOP_S)  # Answers in hand are written,
            until = time.monotonic() + STOP_S
            while self._unsent() and time.monotonic() < until:
                self._turn(0.1)  # and leave.
        finally:
            wasyncore.close_all(self._channels, ignore_all=True)

    def _unsent(self) -> bool:
        return any(
            isinstance(channel, HTTPChannel) and channel.total_outbufs_len > 0
            for channel in self._channels.values()
        )

    def _turn(self, wait_s: float) -> None:
        wasyncore.loop(timeout=wait_s, use_poll=True, map=self._channels, count=1)


def listen(host: str, port: int) -> socket.socket:
    """Take an address. Raises ConfigError when it cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family, backlog=128)
    except OSError as error:
        raise ConfigError(
            f"http: cannot listen on {host}:{port} ({error.strerror}); "
            "stop the program that uses it, or set another http.host or http.port"
        ) from error
