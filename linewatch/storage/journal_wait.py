"""Open the journal at boot, when its disk may not be mounted yet."""

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path

from linewatch.errors import StorageFull
from linewatch.storage.journal import Journal

log = logging.getLogger(__name__)

WAIT_S = 40.0  # Then systemd starts the daemon again: fewer than ten times in five minutes.
RETRY_S = 2.0


def open_journal(path: Path, warn: Callable[[str], None], stop: threading.Event) -> Journal:
    """Return the opened journal; wait up to 40 s for its disk, unless `stop` is set. Raises StorageFull."""
    until_s = time.monotonic() + WAIT_S
    while True:
        try:
            return Journal.open(path, warn=warn)
        except StorageFull as trouble:
            log.warning("journal_unavailable reason=%r", str(trouble))
            if time.monotonic() > until_s or stop.wait(RETRY_S):
                raise
