"""An event that `select` can wait for together with sockets."""

import os
import weakref


class Wakeup:
    """Event on an eventfd (eventfd(2)): set from any thread, waited for and cleared by one.

    Several sets before a clear count as one. `fileno` lets it stand in `select.select` beside a socket.
    """

    def __init__(self) -> None:
        self._fd = os.eventfd(0, os.EFD_NONBLOCK | os.EFD_CLOEXEC)
        weakref.finalize(self, os.close, self._fd)

    def fileno(self) -> int:
        """Return the descriptor that is readable while the event is set."""
        return self._fd

    def set(self) -> None:
        """Wake the waiting thread, now or when it next waits."""
        os.eventfd_write(self._fd, 1)

    def clear(self) -> bool:
        """Clear the event; return whether it was set."""
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            return False
        return True
