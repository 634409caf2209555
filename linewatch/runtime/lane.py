"""The bounded belt between two threads; closing it is how a stream ends."""

from collections import deque
from collections.abc import Callable, Iterator
from threading import Condition
from types import TracebackType
from typing import Generic, Self, TypeVar

T = TypeVar("T")

REMAINS_MAX = 100_000
"""How many shed remains may wait; a consumer that far behind is stuck, which is a bug."""


class LaneClosed(Exception):
    """The other end of the lane has gone: nothing can be put any more."""


class Lane(Generic[T]):
    """A first-in, first-out belt for `capacity` whole items.

    When it is full, the producer waits; or, with `shed`, the oldest whole item is replaced
    where it stands by what `shed` leaves of it. So nothing ever vanishes and order is kept:
    what is bounded is the heavy part of the items, the pictures.

    As a context manager it belongs to its producer: leaving closes it.
    """

    def __init__(self, name: str, capacity: int, *, shed: Callable[[T], T] | None = None) -> None:
        assert capacity > 0, name
        self.name = name
        self.capacity = capacity
        self._shed = shed
        self._items: deque[T] = deque()
        self._remains = 0  # How many at the front are shed.
        self._closed = False
        self._changed = Condition()

    def __len__(self) -> int:
        """Return how many whole items wait."""
        return len(self._items) - self._remains

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def put(self, item: T) -> None:
        """Add one item; a full lane waits or sheds. Raises LaneClosed when nobody takes any more."""
        with self._changed:
            if self._shed is None:
                self._changed.wait_for(lambda: self._closed or len(self) < self.capacity)
            if self._closed:
                raise LaneClosed(self.name)
            if self._shed is not None and len(self) == self.capacity:
                self._items[self._remains] = self._shed(self._items[self._remains])
                self._remains += 1
                assert self._remains <= REMAINS_MAX, f"lane {self.name}: the consumer is stuck"
            self._items.append(item)
            assert len(self) <= self.capacity
            self._changed.notify_all()

    def offer(self, item: T) -> bool:
        """Add one item only if there is room right now; return whether it was taken."""
        with self._changed:
            if self._closed or len(self) >= self.capacity:
                return False
            self._items.append(item)
            self._changed.notify_all()
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
            self._remains = max(0, self._remains - 1)
            self._changed.notify_all()
            return item

    @property
    def closed(self) -> bool:
        """Whether nothing more is taken in."""
        return self._closed

    def peek(self) -> T | None:
        """Return the next item and leave it where it is; None when nothing waits."""
        with self._changed:
            return self._items[0] if self._items else None

    def items(self, idle: Callable[[], None], idle_s: float) -> Iterator[T]:
        """Yield until closed and drained; call `idle` whenever nothing came for `idle_s`."""
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
        """Say that nothing more comes; the consumer drains what is there."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()

    def abandon(self) -> None:
        """Say that the consumer has gone: what is left is dropped and `put` refuses."""
        with self._changed:
            self._closed = True
            self._items.clear()
            self._remains = 0
            self._changed.notify_all()
