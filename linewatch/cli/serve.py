"""The page without a line: upload and review pages for a desk in the office, or while the line is off."""

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack

from linewatch.line.metrics import Metrics
from linewatch.models.scoring_worker import ScoringWorker
from linewatch.runtime.signals import Signals
from linewatch.settings import Settings
from linewatch.storage.journal import Journal
from linewatch.web.app import create_app
from linewatch.web.office_backend import OfficeBackend
from linewatch.web.server import WebServer

log = logging.getLogger(__name__)

ACT_S = 0.2


def run(
    settings: Settings,
    *,
    duration_s: float | None = None,
    started: Callable[[WebServer], None] = lambda _: None,
) -> None:
    """Serve until SIGTERM or SIGINT comes or `duration_s` is over; no camera, no broker.

    Raises ConfigError when the settings cannot work, also while a daemon uses the same journal: its own
    page shows the same and more.
    """
    stop = threading.Event()
    token = settings.http.token()
    with ExitStack() as parts:
        signals = parts.enter_context(
            Signals(stop, threading.Event(), reload=lambda: None, duration_s=duration_s)
        )
        journal = parts.enter_context(Journal.open(settings.journal.path))
        assessor = parts.enter_context(ScoringWorker(settings.models, settings.station.name))
        office = OfficeBackend(settings.station.name, journal, settings.models, assessor)
        metrics = Metrics(settings.station.name)
        app = create_app(office, metrics.render, token, settings.evidence.path)
        page = parts.enter_context(WebServer(app, settings.http.host, settings.http.port))
        log.info("page address=%s", page.address)
        started(page)
        while not stop.wait(ACT_S):
            signals.act()
