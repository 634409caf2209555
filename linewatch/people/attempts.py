"""Delay sign-ins after failures: per user and per address, in bounded memory."""

import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

USER_FREE = 5  # Failures of one user without a delay: typing errors.
ADDRESS_FREE = 20  # Of one address: a proxy or a shared tablet.
DELAY_S = 10.0  # Of the first failure after these; doubled by each further one,
DELAY_S_MAX = 300.0  # up to this, so that a stranger cannot lock a user out for a shift.
FORGET_S = 3600.0
KEYS_MAX = 4000
CHECKS_PER_S = 4  # Of all passwords together, so that a flood takes an eighth of one core.
BURST = 8


@dataclass(slots=True)
class _Failures:
    count: int = 0
    last_s: float = 0.0
    until_s: float = 0.0


class Attempts:
    """Counts failed sign-ins. A delayed one is refused before its password is checked."""

    def __init__(self, clock_s: Callable[[], float] = time.monotonic) -> None:
        self._clock_s = clock_s
        self._lock = threading.Lock()
        self._failures: OrderedDict[tuple[str, str], _Failures] = OrderedDict()  # Least recent first.
        self._checks = float(BURST)
        self._filled_s = clock_s()

    def begin(self, user: str, address: str) -> float:
        """Return 0.0 if a password may be checked now, else how many seconds to wait."""
        now_s = self._clock_s()
        with self._lock:
            wait_s = max(
                (
                    self._failures[key].until_s - now_s
                    for key in _keys(user, address)
                    if key in self._failures
                ),
                default=0.0,
            )
            if wait_s > 0:
                return wait_s
            self._checks = min(BURST, self._checks + CHECKS_PER_S * (now_s - self._filled_s))
            self._filled_s = now_s
            if self._checks < 1:
                return (1 - self._checks) / CHECKS_PER_S
            self._checks -= 1
            return 0.0

    def failed(self, user: str, address: str) -> None:
        """Count a wrong name or password."""
        now_s = self._clock_s()
        with self._lock:
            for key, free in zip(_keys(user, address), (USER_FREE, ADDRESS_FREE), strict=True):
                found = self._failures.pop(key, _Failures())
                if now_s - found.last_s > FORGET_S:
                    found = _Failures()
                found.count += 1
                found.last_s = now_s
                if found.count > free:
                    delay_s = DELAY_S * 2.0 ** min(found.count - free - 1, 10)
                    found.until_s = now_s + min(DELAY_S_MAX, delay_s)
                self._failures[key] = found
            while len(self._failures) > KEYS_MAX:
                self._failures.popitem(last=False)

    def succeeded(self, user: str, address: str) -> None:
        """Forget the user's failures. The address keeps its own: one known password opens no flood."""
        with self._lock:
            self._failures.pop(_keys(user, address)[0], None)


def _keys(user: str, address: str) -> tuple[tuple[str, str], tuple[str, str]]:
    return ("user", user.casefold()), ("address", address)
