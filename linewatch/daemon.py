"""The composition of the daemon: build every part, connect them with lanes, run until the end.

    Source -> Capture -[frames]-> Inspector -[examined]-> Inspector -[inspections]-> Recorder
                                  (examine)               (inspect)                      |
                                              history <- Courier <- journal -> live verdict

`run` lists the parts in the order in which they depend on each other, then the steps of the shutdown.
"""

import logging
import math
import threading
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial

from linewatch.acquisition.sources import open_source
from linewatch.acquisition.trigger_mode import is_triggered, trigger_mode
from linewatch.awaited_secret import AwaitedSecret
from linewatch.capability.promise_watch import PromiseWatch
from linewatch.domain import State
from linewatch.identifiers import NAME
from linewatch.line.capture import Capture
from linewatch.line.changeover import Changeover, recently_used
from linewatch.line.commands import Commands
from linewatch.line.inspector import Inspector
from linewatch.line.lanes import Lanes
from linewatch.line.links import Links, build_courier, build_links
from linewatch.line.maintenance import Maintenance
from linewatch.line.metrics import Metrics
from linewatch.line.outstanding import Outstanding, record_in_time
from linewatch.line.recorder import Recorder
from linewatch.line.recording.disk_writers import DiskWriters, build_writers
from linewatch.line.station import JournalWarnings, Station
from linewatch.line.status import Announcer
from linewatch.line.trial import TrialRunner
from linewatch.line.view_merger import ViewMerger
from linewatch.models.recipe_file import names, products
from linewatch.models.scoring_worker import BESIDE_A_LINE, ScoringWorker
from linewatch.mqtt.history import Courier
from linewatch.people.people import People
from linewatch.people.sign_in import SignIn
from linewatch.runtime import malloc, systemd
from linewatch.runtime.events import Events
from linewatch.runtime.paused_processes import PausedProcesses
from linewatch.runtime.retention_clock import RetentionClock
from linewatch.runtime.signals import Signals
from linewatch.runtime.stages import Heartbeat, Stage, StageGroup, consume, transform
from linewatch.settings import Settings
from linewatch.storage.audit.started import record_start
from linewatch.storage.evidence import Evidence
from linewatch.storage.journal import Journal
from linewatch.storage.journal_wait import open_journal
from linewatch.teach.collector import offer_to
from linewatch.vision.image_quality import FROZEN_S
from linewatch.web.app import create_app
from linewatch.web.server import WebServer
from linewatch.web.shifts.shifts_backend import ShiftReports
from linewatch.web.station_backend import StationBackend, storage_forecast
from linewatch.web.study.study_backend import StudyBackend
from linewatch.web.teach.teacher_backend import Teacher

log = logging.getLogger(__name__)

PREPARE_S = 60.0  # Loading a large model from a slow disk takes long and delays no part.
ANSWER_SHARE = 0.9  # Of the deadline; a part without a result by then gets its ERROR.
GRACE_EXTRA_S = 5.0  # Beyond the courier's own grace: for disconnecting, and for a broker that hangs.


@dataclass(frozen=True)
class Base:
    """What most parts are built with."""

    settings: Settings
    metrics: Metrics
    journal: Journal
    station: Station
    evidence: Evidence
    lanes: Lanes
    token: AwaitedSecret
    teacher: Teacher
    people: People
    promises: PromiseWatch
    beside: PausedProcesses

    @property
    def answer_within_ns(self) -> int:
        """How long after its exposure a part must have its result; the rest is for journal and broker."""
        return round(ANSWER_SHARE * self.settings.limits.deadline_ms * 1e6)

    def stage(
        self,
        name: str,
        run: Callable[[Stage], None],
        stall_s: float | None = None,
        heartbeat: Heartbeat | None = None,
        niceness: int = 0,
    ) -> Stage:
        """Return a stage whose durations are measured."""
        observe = self.metrics.stage_duration.labels(self.metrics.station, name).observe
        return Stage(name, run, observe, stall_s=stall_s, heartbeat=heartbeat, niceness=niceness)


def run(
    settings: Settings,
    *,
    duration_s: float | None = None,
    started: Callable[[WebServer], None] = lambda _: None,
) -> None:
    """Inspect until the source ends, SIGTERM or SIGINT arrives, or `duration_s` is over.

    Returns when every captured frame has its journaled verdict. `started` is called once the page
    answers and the line is about to run. Raises ConfigError when the settings cannot work, StorageFull
    when there is no room to begin, and the exception that ended a stage.
    """
    malloc.configure()
    live = open_source(settings.source, settings.gige).live  # Not entered: finds a wrong address early.
    events, warnings, clock = Events(), JournalWarnings(), RetentionClock()
    examining, judging = Heartbeat(), Heartbeat()

    with ExitStack() as opened:
        # Entered first, left last: a signal must not interrupt what is built or closed.
        signals = Signals(events.stop, events.hurry, events.reload, duration_s=duration_s)
        opened.enter_context(signals)
        base = build_base(settings, opened, events.stop, warnings, clock, live=live)
        journal, station, metrics = base.journal, base.station, base.metrics
        outstanding = Outstanding(base.answer_within_ns, base.beside.give_way)
        inspector = build_inspector(base)
        parts = settings.models, inspector, station, metrics, journal.audit, recently_used(journal)
        changeover = Changeover(*parts, live=live, frozen_s=FROZEN_S.get(settings.source.kind, 0.0))
        commands = build_commands(base, changeover)
        line_busy = partial(base.lanes.busy, examining, judging)
        announcer = build_announcer(base, judging, line_busy)
        sign_in = SignIn(base.people)
        links = build_links(settings, station, commands, announcer, metrics, events.failed, sign_in)
        courier = build_courier(settings, journal, station, metrics)
        trial = build_trial(base, opened)
        stores, drawn = (journal, base.evidence, station, metrics), base.promises.draw.takes
        writers = build_writers(settings, opened, *stores, warnings.add, line_busy, clock.utc_s, drawn)
        recorder = build_recorder(base, links, writers, trial)
        record = build_record(base, outstanding, recorder, inspector, commands, trial, writers)
        capture = build_capture(base, events.stop, outstanding)
        maintenance = build_maintenance(base, clock, trial, changeover, commands)
        group = StageGroup(
            line=build_line(base, capture, inspector, record, writers, examining, judging),
            services=build_services(base, events, courier, links, commands, trial, maintenance),
            stall_s=settings.limits.stall_s,
            grace_s=settings.limits.grace_s + GRACE_EXTRA_S,
            failed=events.failed,
        )
        changeover.begin(settings.station.product)
        page = build_page(base, opened, inspector, commands, recorder, writers, group)
        tick = build_tick(base, group, events.reload, signals, commands, warnings, writers)
        started(page)
        systemd.notify("READY=1")
        # The line runs until `stop` is set or a stage ends. Then, in this order:
        # 1. capture ends, 2. examine, inspect and record drain: every captured frame gets its verdict,
        # 3. commands and trials are refused and the evidence queue is written, 4. `drained` is set and
        # the services publish what is left within the grace, or not at all after `hurry`.
        group.run(events.stop, events.drained, hurry=events.hurry, alive=tick)
        systemd.notify("STOPPING=1")
        log.info("stopped boot=%d last_seq=%d", journal.boot, station.snapshot().last_seq)
        # 5. Leaving the block closes the page, the worker processes, the journal and the signal handlers.


def build_line(
    base: Base,
    capture: Capture,
    inspector: Inspector,
    record: Callable[[Stage], None],
    writers: DiskWriters,
    examining: Heartbeat,
    judging: Heartbeat,
) -> list[Stage]:
    """Return the stages that a frame passes, in order; each ends after the one before it."""
    lanes, merge = base.lanes, ViewMerger(inspector.inspect).inspect
    examine = partial(transform, inlet=lanes.frames, work=inspector.examine, outlet=lanes.examined)
    inspect = partial(transform, inlet=lanes.examined, work=merge, outlet=lanes.inspections)
    return [
        base.stage("capture", capture.run),
        base.stage("examine", examine, heartbeat=examining, niceness=3),  # The network goes before its input.
        base.stage("inspect", inspect, heartbeat=judging),
        base.stage("record", record),
        # A disk that hangs must not end the line.
        *(base.stage(name, work, math.inf, niceness=nice) for name, work, nice in writers.stages()),
    ]


def build_services(
    base: Base,
    events: Events,
    courier: Courier,
    links: Links,
    commands: Commands,
    trial: TrialRunner,
    maintenance: Maintenance,
) -> list[Stage]:
    """Return the stages beside the line, which run until it has drained."""
    taught = base.teacher.collector
    collect = partial(consume, inlet=taught.frames, work=taught.keep)
    return [
        base.stage("deliver", lambda stage: courier.run(events.stop, events.drained, stage.beat)),
        *(base.stage(name, work, stall_s) for name, work, stall_s in links.stages(events.drained)),
        base.stage("prepare", commands.serve, PREPARE_S),
        base.stage("shadow", lambda stage: consume(stage, trial.trials, trial.compare), math.inf),
        base.stage("collect", collect, math.inf, niceness=10),
        base.stage("tidy", lambda stage: maintenance.run(stage, events.drained), math.inf),
    ]


def build_tick(
    base: Base,
    group: StageGroup,
    reload: threading.Event,
    signals: Signals,
    commands: Commands,
    warnings: JournalWarnings,
    writers: DiskWriters,
) -> Callable[[], None]:
    """Return what the main thread does every 0.2 s while no stage is stalled."""

    def tick() -> None:
        systemd.notify("WATCHDOG=1")
        base.metrics.show_beats({stage.name: stage.beats for stage in group.stages})
        signals.check_duration()
        if reload.is_set():
            reload.clear()
            log.info("reload_requested signal=SIGHUP")
            commands.reload()
        base.station.check_images()
        writers.journal.check()
        warnings.publish(base.station)

    return tick


def build_record(
    base: Base,
    outstanding: Outstanding,
    recorder: Recorder,
    inspector: Inspector,
    commands: Commands,
    trial: TrialRunner,
    writers: DiskWriters,
) -> Callable[[Stage], None]:
    """Return the work of the record stage, whose end stops what depends on the line."""

    def record(stage: Stage) -> None:
        try:
            # After the last part, commands, trials and frames to learn from are refused.
            with commands, trial, base.teacher.collector:
                inlet = base.lanes.inspections
                record_in_time(stage, inlet, outstanding, recorder.record, inspector.give_up)
                base.station.intend(State.STOPPED, "stopped")
        finally:
            writers.close()  # Their stages end after what waits.

    return record


def build_base(
    settings: Settings,
    opened: ExitStack,
    stop: threading.Event,
    warnings: JournalWarnings,
    clock: RetentionClock,
    *,
    live: bool,
) -> Base:
    """Return what most parts are built with; the journal is closed with `opened`.

    Raises StorageFull, and ConfigError for an unusable token file.
    """
    metrics = Metrics(settings.station.name)
    for product in filter(NAME.fullmatch, names(settings.models.recipes)):
        metrics.expect_product(product)
    journal = opened.enter_context(open_journal(settings.journal.path, warnings.add, stop))
    record_start(journal, settings)
    station = Station(settings.station.name, journal.boot, settings.station.product, metrics)
    evidence = Evidence(settings.evidence, utc_s=clock.utc_s)
    lanes = Lanes.of(settings, live)
    for lane in (lanes.frames, lanes.examined, lanes.inspections, lanes.triggers):
        metrics.watch_queue(lane.name, lane.capacity, lane.__len__)
    token = AwaitedSecret(settings.http.token, partial(station.set_impairment, "token"))
    teacher = opened.enter_context(Teacher(settings, beside := PausedProcesses()))
    people = People(settings.users_file, journal.audit)
    promises = PromiseWatch.of(settings, journal, events=station, show=metrics.show_promise)
    known = settings, metrics, journal, station, evidence, lanes
    return Base(*known, token, teacher, people, promises, beside)


def build_inspector(base: Base) -> Inspector:
    """Return the inspector, without a product."""
    age_ms_max = base.settings.limits.frame_age_ms_max
    within_ns = base.answer_within_ns
    return Inspector(base.station, base.metrics, frame_age_ms_max=age_ms_max, answer_within_ns=within_ns)


def build_commands(base: Base, changeover: Changeover) -> Commands:
    """Return the command queue. Raises ConfigError for triggers without a link to trigger by."""
    triggers = base.lanes.triggers if is_triggered(base.settings) else None
    known = partial(products, base.settings.models.recipes)
    return Commands(base.station, changeover, known, triggers, base.metrics, audit=base.journal.audit)


def build_announcer(base: Base, judging: Heartbeat, line_busy: Callable[[], bool]) -> Announcer:
    """Return the announcer; the PLC's heartbeat is that of the judging stage."""
    queued = base.journal.undelivered_count
    return Announcer(base.station.snapshot, outbox=queued, beats=lambda: judging.beats, busy=line_busy)


def build_trial(base: Base, opened: ExitStack) -> TrialRunner:
    """Return what compares the model on trial with the one on the line, in a process of its own."""
    worker = opened.enter_context(ScoringWorker(base.settings.models, base.settings.station.name))
    return TrialRunner(
        base.settings.models.path, worker, base.evidence, base.journal.add_comparisons, base.metrics
    )


def build_recorder(base: Base, links: Links, writers: DiskWriters, trial: TrialRunner) -> Recorder:
    """Return the recorder, from journal to live verdict."""
    return Recorder(
        base.station,
        writers.journal,
        links,
        writers.heatmaps,
        writers.frames,
        base.metrics,
        deadline_ms=base.settings.limits.deadline_ms,
        answer_within_ns=base.answer_within_ns,
        afterwards=(trial.offer, writers.signatures.offer),
        places=base.lanes.places,
    )


def build_capture(base: Base, stop: threading.Event, outstanding: Outstanding) -> Capture:
    """Return the capture stage's work. Raises ConfigError."""
    settings, impaired = base.settings, partial(base.station.set_impairment, "trigger")
    return Capture(
        partial(open_source, settings.source, settings.gige),
        trigger_mode(settings, base.lanes.triggers, base.lanes.places, impaired),
        base.lanes.frames,
        base.station,
        base.metrics,
        stop,
        silent_s=settings.source.read_timeout_s,
        exposed=offer_to(outstanding.add, base.teacher.collector.offer),
    )


def build_maintenance(
    base: Base, clock: RetentionClock, trial: TrialRunner, changeover: Changeover, commands: Commands
) -> Maintenance:
    """Return the maintenance of journal, evidence and memory, with the scheduled self-test."""
    return Maintenance(
        base.journal,
        base.evidence,
        base.station,
        base.metrics,
        retention_days=base.settings.journal.retention_days,
        utc_s=clock.utc_s,
        trial=trial.step,
        selftest=changeover.probe,
        looks=(changeover.recognise_next, commands.look_again, base.token, base.promises.step),
        selftest_every_s=base.settings.models.selftest_every_s,
    )


def build_page(
    base: Base,
    opened: ExitStack,
    inspector: Inspector,
    commands: Commands,
    recorder: Recorder,
    writers: DiskWriters,
    group: StageGroup,
) -> WebServer:
    """Return the running page; it is closed with `opened`."""
    settings = base.settings
    line = base.station, base.journal, inspector, commands, settings.models
    backend = StationBackend(
        *line,
        opened.enter_context(ScoringWorker(settings.models, settings.station.name, share=BESIDE_A_LINE)),
        latest=lambda: recorder.latest,
        alive=lambda: not group.failed.is_set() and group.stalled() is None,
        queued=writers.frames.pending,
        promises=base.promises,
        beside=base.beside,
        forecast=partial(storage_forecast, base.evidence, settings),
    )
    teaching = base.teacher.beside(base.station, commands, backend)
    shifts = opened.enter_context(ShiftReports(settings, base.journal))
    studies = opened.enter_context(StudyBackend.beside(settings, base.journal, base.station, base.metrics))
    create = partial(create_app, backend, base.metrics.render, base.token, settings.evidence.path)
    app = create(http=settings.http, people=base.people, teaching=teaching, shifts=shifts, studies=studies)
    impaired = partial(base.station.set_impairment, "page")
    return opened.enter_context(WebServer(app, settings.http.host, settings.http.port, on_change=impaired))
