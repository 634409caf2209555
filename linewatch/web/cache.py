"""Small things kept in memory for the page, each with its bound."""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class ImageCache:
    """The last `pictures_max` JPEGs; the oldest goes when a new one comes."""

    def __init__(self, pictures_max: int) -> None:
        self._pictures_max = pictures_max
        self._pictures: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def keep(self, name: str, jpeg: bytes) -> None:
        """Keep one picture under its name."""
        with self._lock:
            self._pictures[name] = jpeg
            self._pictures.move_to_end(name)
            while len(self._pictures) > self._pictures_max:
                self._pictures.popitem(last=False)

    def keep_secret(self, jpeg: bytes) -> str:
        """Keep one picture and return the name that only the caller knows."""
        name = secrets.token_urlsafe(24)
        self.keep(name, jpeg)
        return name

    def get(self, name: str) -> bytes | None:
        """Return a picture; None if it is gone or never was."""
        with self._lock:
            return self._pictures.get(name)


class Shared(Generic[T]):
    """One value for many clients: made anew at most every `fresh_s`, by one thread at a time.

    So twenty tablets that poll cost the daemon as much as one.
    """

    def __init__(self, make: Callable[[], T], fresh_s: float) -> None:
        self._make = make
        self._fresh_s = fresh_s
        self._made: tuple[float, T] | None = None
        self._lock = threading.Lock()

    def get(self) -> T:
        """Return the value, at most `fresh_s` old; older only while another thread is making it anew."""
        made = self._made
        if made is not None and time.monotonic() - made[0] <= self._fresh_s:
            return made[1]
        if not self._lock.acquire(blocking=made is None):
            assert made is not None
            return made[1]
        try:
            if self._made is made:  # Else it was made while we waited.
                self._made = time.monotonic(), self._make()
            assert self._made is not None
            return self._made[1]
        finally:
            self._lock.release()
