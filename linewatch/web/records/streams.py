"""Responses that are sent piece by piece, one at a time: neither a slow client nor a lost one holds more."""

import logging
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime

from flask import Response
from waitress.channel import ClientDisconnected
from werkzeug.exceptions import ServiceUnavailable

from linewatch.errors import LinewatchError
from linewatch.web.backend import Export

log = logging.getLogger(__name__)

RETRY_S = 60


class Streams:
    """Gives one response at a time its place; others get 503."""

    def __init__(self, texts: Mapping[str, str]) -> None:
        self._texts = texts
        self._place = threading.Lock()

    def send(self, begin: Callable[[], Export], *, kind: str, name: str, log_as: str) -> Response:
        """Return a response with the bytes of what `begin` returns, as a file `NAME-TIME.ENDING`.

        `name` is "NAME.ENDING"; `log_as` says in the log what is sent to whom.
        """
        if not self._place.acquire(blocking=False):
            raise ServiceUnavailable(self._texts["error_export_busy"], retry_after=RETRY_S)
        try:
            stream = Stream(begin(), log_as, self._place.release)
        except BaseException:
            self._place.release()
            raise
        response = Response(stream, content_type=kind)
        stem, dot, ending = name.rpartition(".")
        named = f"{stem}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}{dot}{ending}"
        response.headers["Content-Disposition"] = f'attachment; filename="{named}"'
        response.headers["Cache-Control"] = "no-store"
        return response


class Stream:
    """The bytes of a response; `close` gives its place free, whatever became of it."""

    def __init__(self, chunks: Export, what: str, done: Callable[[], None]) -> None:
        self._chunks = chunks
        self._what = what
        self._done = done
        self._began_s = time.monotonic()
        self._sent = 0
        self._outcome = "stopped"  # The client went, or took nothing for too long.
        self._closing = threading.Lock()  # Held once, for good.

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            chunk = next(self._chunks)
        except StopIteration:
            self._outcome = "complete"
            raise
        except LinewatchError as trouble:
            self._outcome = "broken"
            log.warning("export_broken reason=%r", str(trouble))
            # The response ends without its last piece, so that no client takes it for complete.
            raise ClientDisconnected from trouble
        self._sent += len(chunk)
        return chunk

    def close(self) -> None:
        """End the export and give its place free, once."""
        if not self._closing.acquire(blocking=False):
            return
        try:
            self._chunks.close()
        finally:
            self._done()
        took_s = time.monotonic() - self._began_s
        log.info("export %s outcome=%s bytes=%d s=%.1f", self._what, self._outcome, self._sent, took_s)
