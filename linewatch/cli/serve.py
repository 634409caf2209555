"""Upload and review pages without a line: for an office PC, or while the line is off."""

import logging
import threading
from collections.abc import Callable
from contextlib import ExitStack, suppress

from linewatch.awaited_secret import AwaitedSecret
from linewatch.capability.promise_watch import PromiseWatch
from linewatch.errors import StorageFull
from linewatch.line.metrics import Metrics
from linewatch.models.scoring_worker import ScoringWorker
from linewatch.people.people import People
from linewatch.runtime.signals import Signals
from linewatch.settings import Settings
from linewatch.storage.journal import Journal
from linewatch.web.app import create_app
from linewatch.web.office_backend import OfficeBackend
from linewatch.web.server import WebServer
from linewatch.web.shifts.shifts_backend import ShiftReports
from linewatch.web.study.study_backend import StudyBackend
from linewatch.web.teach.teacher_backend import Teacher

log = logging.getLogger(__name__)

POLL_S = 0.2
REMOVE_NOTHING_MS = 0  # Retention is the daemon's; here the search index is completed.


def serve_office(
    settings: Settings,
    *,
    duration_s: float | None = None,
    started: Callable[[WebServer], None] = lambda _: None,
) -> None:
    """Serve until SIGTERM, SIGINT or the end of `duration_s`; `started` is called with the running server.

    Raises ConfigError for unusable settings, and while a daemon uses the same journal: its own page
    shows the same and more.
    """
    stop = threading.Event()
    token = AwaitedSecret(settings.http.token)
    with ExitStack() as stack:
        signals = stack.enter_context(
            Signals(stop, threading.Event(), threading.Event(), duration_s=duration_s)
        )
        journal = stack.enter_context(Journal.open(settings.journal.path))
        worker = stack.enter_context(ScoringWorker(settings.models, settings.station.name))
        metrics = Metrics(settings.station.name)
        promises = PromiseWatch.of(settings, journal, show=metrics.show_promise)
        backend = OfficeBackend(settings.station.name, journal, settings.models, worker, promises=promises)
        teacher = stack.enter_context(Teacher(settings))
        app = create_app(
            backend,
            metrics.render,
            token,
            settings.evidence.path,
            teaching=teacher.alone(backend),
            shifts=stack.enter_context(ShiftReports(settings, journal)),
            studies=StudyBackend(settings, journal),
            http=settings.http,
            people=People(settings.users_file, journal.audit),
        )
        server = stack.enter_context(WebServer(app, settings.http.host, settings.http.port))
        started(server)
        while not stop.wait(POLL_S):
            signals.check_duration()
            with suppress(StorageFull):  # A page says so when it needs the disk.
                journal.maintain(REMOVE_NOTHING_MS)
            promises.step()
