"""What threads and signal handlers tell each other in the daemon."""

import threading
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Events:
    """What threads and signal handlers set; the stages and the main loop act on it."""

    stop: threading.Event = field(default_factory=threading.Event)  # Capture ends.
    drained: threading.Event = field(default_factory=threading.Event)  # The line has ended; services end.
    hurry: threading.Event = field(default_factory=threading.Event)  # Services are not waited for.
    reload: threading.Event = field(default_factory=threading.Event)  # Read recipe and model again.
    failed: threading.Event = field(default_factory=threading.Event)  # A stage ended by an exception.
