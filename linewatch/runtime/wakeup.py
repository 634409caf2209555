"""An event that `select` can wait for together with sockets."""

import os
import weakref


class Wakeup:
    """Set from any thread, waited for and cleared by one; many sets before a clear are one.

    Has `fileno`, so it can stand in `select.select` beside a socket.
    """

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        weakref.finalize(self, os.close, self._fd)

    def fileno(self) -> int:
        """Return the descriptor that is readable while this is set."""
        return self._fd

    def set(self) -> None:
        """Wake the waiting thread, now or when it next waits."""
        os.eventfd_write(self._fd, 1)

    def clear(self) -> bool:
        """Return whether it was set, and take it back."""
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            return False
        return True
