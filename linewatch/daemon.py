"""The picture of the daemon: build every part, join them with lanes, run until the end.

    Source -> Capture -[frames]-> Inspector -[examined]-> Inspector -[inspections]-> Recorder
                                  (examine)               (inspect)                      |
                                              history <- Courier <- journal -> live verdict

The end of the stream runs down the line: capture ends, the others drain and end after it.
"""

import logging
import math
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Self

from linewatch import links
from linewatch.acquisition.multiview import MultiView
from linewatch.acquisition.part_trigger import PartTriggered, empty_belt
from linewatch.acquisition.sources import open_source
from linewatch.acquisition.triggers import (
    CommandTriggered,
    FreeRun,
    TriggerMode,
    TriggerRequest,
    is_triggered,
)
from linewatch.domain import Frame, Inspection, Reason, State
from linewatch.errors import RecipeError, StorageFull
from linewatch.identifiers import NAME
from linewatch.line.capture import Capture
from linewatch.line.changeover import Changeover
from linewatch.line.commands import Commands
from linewatch.line.evidence_writer import EvidenceWriter
from linewatch.line.inspector import Examined, Inspector
from linewatch.line.journal_warnings import JournalWarnings
from linewatch.line.maintenance import Maintenance
from linewatch.line.metrics import Metrics
from linewatch.line.outstanding import Outstanding, record_in_time
from linewatch.line.recorder import Recorder
from linewatch.line.station import Station
from linewatch.line.status import Announcer
from linewatch.line.trial import TrialRunner
from linewatch.line.view_merger import ViewMerger
from linewatch.models.recipe_file import names, products
from linewatch.models.scoring_worker import BESIDE_A_LINE, ScoringWorker
from linewatch.runtime import malloc, systemd
from linewatch.runtime.lane import Lane
from linewatch.runtime.retention_clock import RetentionClock
from linewatch.runtime.signals import Signals
from linewatch.runtime.stages import Stage, StageGroup, consume, transform
from linewatch.settings import Settings
from linewatch.storage.evidence import Evidence
from linewatch.storage.journal import Journal
from linewatch.web.app import create_app
from linewatch.web.server import WebServer
from linewatch.web.station_backend import StationBackend, storage_forecast

log = logging.getLogger(__name__)

PREPARE_S = 60.0  # A large model from a slow disk takes its time, and holds up no part.
PLACES = 3  # Of a recording at full speed: a part looked at, one in the graph, one recorded.
ANSWER_SHARE = 0.95  # Of the deadline: then a part without a result gets its ERROR.
PATIENCE = 0.6  # Of the deadline: the rest is for telling the PLC that no picture came.
JOURNAL_WAIT_S = 40.0  # Then systemd starts the daemon again: fewer than ten times in five minutes.
JOURNAL_RETRY_S = 2.0
GRACE_EXTRA_S = 5.0  # Beyond the courier's own grace: for goodbyes, and for a broker that hangs.


def run(  # noqa: PLR0915 - a list
    settings: Settings,
    *,
    duration_s: float | None = None,
    started: Callable[[WebServer], None] = lambda _: None,
) -> None:
    """Inspect until the source ends, SIGTERM or SIGINT comes, or `duration_s` is over.

    Returns when every captured frame has its journaled verdict. `started` is called once the page
    answers and the line is about to run. Raises ConfigError when the settings cannot work, StorageFull
    when there is no room to begin, and whatever bug ended a stage.
    """
    malloc.configure()
    limits, source, token = settings.limits, settings.source, settings.http.token()
    # Built, not entered: a wrong address is found before anything starts.
    live = open_source(source, settings.gige).live

    stop, drained, hurry = threading.Event(), threading.Event(), threading.Event()

    with ExitStack() as parts:
        # First in, last out: a signal while parts are built or closed must not cut that short.
        signals = parts.enter_context(
            Signals(
                stop,
                hurry,
                reload=lambda: commands.reload(),  # noqa: PLW0108 - they are built later
                duration_s=duration_s,
            )
        )
        metrics = Metrics(settings.station.name)
        for product in filter(NAME.fullmatch, names(settings.models.recipes)):
            metrics.know_product(product)  # A rise from nothing would be no increase.
        warnings = JournalWarnings()
        journal = parts.enter_context(Journal.open(settings.journal.path, warn=warnings.add))
        station = Station(settings.station.name, journal.boot, settings.station.product, metrics)
        clock = RetentionClock()
        evidence = Evidence(settings.evidence, utc_s=clock.utc_s)

        lanes = _Lanes.of(settings, live)
        for lane in (lanes.frames, lanes.examined, lanes.inspections, lanes.triggers):
            metrics.watch_queue(lane.name, lane.capacity, lane.__len__)

        # What is left of the deadline is for the journal and the wire.
        answer_within_ns = round(ANSWER_SHARE * limits.deadline_ms * 1e6)
        outstanding = Outstanding(answer_within_ns)
        inspector = Inspector(
            station,
            metrics,
            frame_age_ms_max=limits.frame_age_ms_max,
            answer_within_ns=answer_within_ns,
        )
        changeover = Changeover(settings.models, inspector, station, metrics, journal.audit, live=live)
        commands = Commands(
            station,
            changeover,
            partial(products, settings.models.recipes),
            lanes.triggers if is_triggered(settings) else None,
            metrics,
        )
        announcer = Announcer(
            station.snapshot,
            outbox=journal.undelivered_count,
            beats=lambda: inspect.beats,
            busy=lambda: lanes.parts_waiting > 0 or any(stage.busy_s() > 0 for stage in (examine, inspect)),
        )
        live_link = links.live_link(
            settings, station, commands, announcer, metrics, failed=lambda: group.failed
        )
        courier = links.courier(settings, journal, station, metrics)
        shadow = TrialRunner(
            settings.models.path,
            parts.enter_context(ScoringWorker(settings.models, settings.station.name)),
            evidence,
            journal.add_comparisons,
            metrics,
        )
        writer = EvidenceWriter(evidence, station, metrics, settings.evidence)
        recorder = Recorder(
            station,
            journal,
            live_link,
            evidence,
            writer,
            metrics,
            deadline_ms=limits.deadline_ms,
            afterwards=shadow.offer,
            places=lanes.places,
        )
        capture = Capture(
            partial(open_source, source, settings.gige),
            _occasions(settings, lanes, station),
            lanes.frames,
            station,
            metrics,
            stop,
            silent_s=source.read_timeout_s,
            exposed=outstanding.add,
        )
        housekeeping = Maintenance(
            journal,
            evidence,
            station,
            metrics,
            retention_days=settings.journal.retention_days,
            utc_s=clock.utc_s,
            trial=shadow.step,
            selftest=changeover.probe,
            selftest_every_s=settings.models.selftest_every_s,
        )

        def stage(name: str, run: Callable[[Stage], None], stall_s: float | None = None) -> Stage:
            observe = metrics.stage_duration.labels(metrics.station, name).observe
            return Stage(name, run, observe, stall_s=stall_s)

        def record(me: Stage) -> None:
            try:
                with commands, shadow:  # The last part recorded, nothing more can be asked.
                    record_in_time(me, lanes.inspections, outstanding, recorder.record, inspector.give_up)
                    station.intend(State.STOPPED, "stopped")
            finally:
                writer.close()

        examine = stage("examine", lambda me: transform(me, lanes.frames, inspector.examine, lanes.examined))
        inspect = stage(
            "inspect",
            lambda me: transform(
                me, lanes.examined, ViewMerger(inspector.inspect).inspect, lanes.inspections
            ),
        )
        group = StageGroup(
            line=[
                stage("capture", capture.run),
                examine,
                inspect,
                stage("record", record),
                stage("evidence", writer.run, math.inf),  # A disk that hangs must not end the line.
            ],
            services=[
                stage("deliver", lambda me: courier.run(stop, drained, me.beat)),
                stage("announce", lambda me: live_link.run(drained, me.beat)),
                stage("prepare", commands.serve, PREPARE_S),
                stage("shadow", lambda me: consume(me, shadow.trials, shadow.compare), PREPARE_S),
                stage("tidy", lambda me: housekeeping.run(me, drained), PREPARE_S),  # It proves models, too.
            ],
            stall_s=limits.stall_s,
            grace_s=limits.grace_s + GRACE_EXTRA_S,
        )

        _first_product(changeover, settings.station.product)
        desk = StationBackend(
            station,
            journal,
            inspector,
            commands,
            settings.models,
            parts.enter_context(ScoringWorker(settings.models, settings.station.name, share=BESIDE_A_LINE)),
            latest=lambda: recorder.latest,
            alive=lambda: not group.failed and group.stalled() is None,
            queued=writer.pending,
            forecast=partial(storage_forecast, evidence, settings),
        )
        page = parts.enter_context(
            WebServer(
                create_app(desk, metrics.render, token, settings.evidence.path),
                settings.http.host,
                settings.http.port,
                on_change=partial(station.set_impairment, "page"),
            )
        )
        started(page)

        def alive() -> None:
            systemd.notify("WATCHDOG=1")
            metrics.show_beats({stage.name: stage.beats for stage in group.stages})
            signals.act()
            station.check_images()
            warnings.publish(station)

        systemd.notify("READY=1")
        group.run(stop, drained, hurry=hurry, alive=alive)
        systemd.notify("STOPPING=1")
        log.info("stopped boot=%d last_seq=%d", journal.boot, station.snapshot().last_seq)


@dataclass(frozen=True)
class _Lanes:
    """The belts between the threads, each with what happens when it is full."""

    frames: Lane[Frame]
    examined: Lane[Examined]  # Full: looking at the next one waits.
    inspections: Lane[Inspection]  # Full: judging waits.
    triggers: Lane[TriggerRequest]  # Full: the trigger is refused as busy.
    places: threading.Semaphore | None  # In the line, if they are limited.

    @classmethod
    def of(cls, settings: Settings, live: bool) -> Self:
        """Choose what a full line does to the next frame.

        What cannot wait sheds its oldest picture; a recording at full speed can wait, and must: parts
        that queue only grow late.
        """
        limits = settings.limits
        patient = not live and settings.source.fps == 0
        return cls(
            frames=Lane(
                "frames",
                1 if patient else limits.frames_max,
                shed=None if patient else _shed,
                bytes_max=limits.frames_bytes_max,
                nbytes=lambda frame: frame.nbytes,
            ),
            examined=Lane("examined", 1),
            inspections=Lane(
                "inspections",
                limits.inspections_max,
                bytes_max=limits.frames_bytes_max,
                nbytes=lambda inspection: inspection.frame.nbytes,
            ),
            triggers=Lane("triggers", 1),
            places=threading.Semaphore(PLACES) if patient and settings.trigger.mode == "free" else None,
        )

    @property
    def parts_waiting(self) -> int:
        """How many parts are between two threads."""
        return len(self.frames) + len(self.examined) + len(self.inspections)


def _occasions(settings: Settings, lanes: _Lanes, station: Station) -> TriggerMode:
    """Return when to expose, and how often. Raises ConfigError."""
    once, views = _first_occasions(settings, lanes, station), settings.trigger.views
    return once if views == 1 else MultiView(once, views, _patience_s(settings))


def _patience_s(settings: Settings) -> float:
    return PATIENCE * settings.limits.deadline_ms / 1000


def _first_occasions(settings: Settings, lanes: _Lanes, station: Station) -> TriggerMode:
    match settings.trigger.mode:
        case "mqtt":
            return CommandTriggered(lanes.triggers, _patience_s(settings))
        case "part":
            trigger = settings.trigger
            impaired = partial(station.set_impairment, "trigger")
            return PartTriggered(trigger.axis, settings.source.fps, impaired, empty_belt(trigger))
        case "free":
            return FreeRun(settings.source.fps, every=settings.hardware_triggered, places=lanes.places)


def _shed(frame: Frame) -> Frame:
    """Keep the exposure and let its picture go: the part gets ERROR 31."""
    return frame.without_image(Reason.QUEUE_FULL)


def _open_journal(path: Path, warn: Callable[[str], None], stop: threading.Event) -> Journal:
    """Open the journal; wait a while for a disk that is not mounted yet. Raises StorageFull."""
    until = time.monotonic() + JOURNAL_WAIT_S
    while True:
        try:
            return Journal.open(path, warn=warn)
        except StorageFull as trouble:
            log.warning("journal_unavailable reason=%r", str(trouble))
            if time.monotonic() > until or stop.wait(JOURNAL_RETRY_S):
                raise


def _first_product(changeover: Changeover, product: str) -> None:
    """Take up the first product; without a fit model the station stands in FAULT and can be told another."""
    try:
        changeover.begin(product)
    except RecipeError:
        log.warning("every part is an ERROR until a product passes its self-test")
