"""Small caches in memory for the page, each with its bound."""

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class ImageCache:
    """Keeps the last `images_max` JPEGs and drops the oldest."""

    def __init__(self, images_max: int) -> None:
        self._images_max = images_max
        self._images: OrderedDict[str, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def put(self, name: str, jpeg: bytes) -> None:
        """Store a JPEG under `name`."""
        with self._lock:
            self._images[name] = jpeg
            self._images.move_to_end(name)
            while len(self._images) > self._images_max:
                self._images.popitem(last=False)

    def add(self, jpeg: bytes) -> str:
        """Store a JPEG under a name that cannot be guessed, and return that name."""
        name = secrets.token_urlsafe(24)
        self.put(name, jpeg)
        return name

    def get(self, name: str) -> bytes | None:
        """Return a JPEG; None if it was dropped or never stored."""
        with self._lock:
            return self._images.get(name)


class TimedCache(Generic[T]):
    """Caches one computed value for `fresh_s`; one thread at a time computes it.

    So twenty tablets that poll cost the daemon as much as one.
    """

    def __init__(self, compute: Callable[[], T], fresh_s: float) -> None:
        self._compute = compute
        self._fresh_s = fresh_s
        self._cached: tuple[float, T] | None = None
        self._lock = threading.Lock()

    def get(self) -> T:
        """Return the value, at most `fresh_s` old; older only while another thread computes the next."""
        cached = self._cached
        if cached is not None and time.monotonic() - cached[0] <= self._fresh_s:
            return cached[1]
        if not self._lock.acquire(blocking=cached is None):
            assert cached is not None
            return cached[1]
        try:
            if self._cached is cached:  # Else another thread computed it while this one waited.
                self._cached = time.monotonic(), self._compute()
            assert self._cached is not None
            return self._cached[1]
        finally:
            self._lock.release()
