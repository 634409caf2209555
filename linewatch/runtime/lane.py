"""Bounded FIFO queue between two threads; closing it ends the stream."""

from collections import deque
from collections.abc import Callable, Iterator
from threading import Condition
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")

SHED_MAX = 100_000
"""How many shed items may wait; a consumer that far behind is stuck, which is a bug."""


class LaneClosed(Exception):
    """The lane is closed: nothing can be put, or nothing is left to take."""


class Lane(Generic[T]):
    """First-in, first-out queue for `capacity` whole items.

    When it is full, the producer waits; or, with `shed`, the oldest whole item is replaced in
    place by what `shed` returns for it. So no item is lost and order is kept: what is bounded is
    the heavy part of the items, the images.

    With `bytes_max` the lane is also full when one more item would take its items, as `nbytes` measures
    them, above that; a single item always fits.

    As a context manager it belongs to its producer: leaving closes it.
    """

    def __init__(
        self,
        name: str,
        capacity: int,
        *,
        shed: Callable[[T], T] | None = None,
        bytes_max: int | None = None,
        nbytes: Callable[[T], int] = lambda _item: 0,
    ) -> None:
        assert capacity > 0, name
        self.name = name
        self.capacity = capacity
        self._shed = shed
        self._bytes_max = bytes_max
        self._nbytes = nbytes
        self._bytes = 0  # Of the whole items.
        self._items: deque[T] = deque()
        self._shed_count = 0  # How many items at the front are shed.
        self._closed = False
        self._changed = Condition()

    def __len__(self) -> int:
        """Return how many whole items wait."""
        return len(self._items) - self._shed_count

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def put(self, item: T) -> None:
        """Add one item; a full lane waits or sheds. Raises LaneClosed when the consumer has gone."""
        with self._changed:
            if self._shed is None:
                self._changed.wait_for(lambda: self._closed or not self._is_full(item))
            if self._closed:
                raise LaneClosed(self.name)
            while self._shed is not None and self._is_full(item):
                whole = self._items[self._shed_count]
                self._bytes -= self._nbytes(whole)
                self._items[self._shed_count] = self._shed(whole)
                self._shed_count += 1
                assert self._shed_count <= SHED_MAX, f"lane {self.name}: the consumer is stuck"
            self._append(item)
            assert len(self) <= self.capacity

    def offer(self, item: T) -> bool:
        """Add one item only if there is room now; return whether it was added."""
        with self._changed:
            if self._closed or self._is_full(item):
                return False
            self._append(item)
            return True

    def take(self, timeout_s: float | None = None) -> T | None:
        """Wait for the next item; None after `timeout_s` without one.

        Raises LaneClosed when the lane is closed and drained.
        """
        with self._changed:
            self._changed.wait_for(lambda: self._closed or self._items, timeout_s)
            if not self._items:
                if self._closed:
                    raise LaneClosed(self.name)
                return None
            item = self._items.popleft()
            if self._shed_count:
                self._shed_count -= 1
            else:
                self._bytes -= self._nbytes(item)
            self._changed.notify_all()
            return item

    @property
    def closed(self) -> bool:
        """Whether `put` refuses items."""
        return self._closed

    def peek(self) -> T | None:
        """Return the next item without taking it; None when the lane is empty."""
        with self._changed:
            return self._items[0] if self._items else None

    def items(self, idle: Callable[[], None], idle_s: float) -> Iterator[T]:
        """Yield until closed and drained; call `idle` after every `idle_s` without an item."""
        while True:
            try:
                item = self.take(idle_s)
            except LaneClosed:
                return
            if item is None:
                idle()
            else:
                yield item

    def close(self) -> None:
        """End the stream: the consumer drains what is left."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """Leave as the consumer: drop what is left, and let `put` raise LaneClosed."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._shed_count = self._bytes = 0
            self._changed.notify_all()

    def _is_full(self, item: T) -> bool:
        """Whether a whole item has to wait, or another to be shed, before this one fits."""
        if len(self) >= self.capacity:
            return True
        return (
            self._bytes_max is not None
            and len(self) > 0
            and self._bytes + self._nbytes(item) > self._bytes_max
        )

    def _append(self, item: T) -> None:
        self._items.append(item)
        self._bytes += self._nbytes(item)
        self._changed.notify_all()
