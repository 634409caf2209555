"""Every metric of the contract, in one class with its own registry."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import NamedTuple

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4
from prometheus_client.registry import Collector

from linewatch import __version__
from linewatch.domain import Reason, Result, State
from linewatch.vision.drift import Signal

STAGES = (
    "capture",
    "examine",
    "inspect",
    "record",
    "journal",
    "heatmaps",
    "evidence",
    "signatures",
    "deliver",
    "announce",
    "prepare",
    "shadow",
    "tidy",
)

_VERDICTS = "# TYPE linewatch_inspections_total counter\n"  # The series follow.
_LATENCY_S = (0.005, 0.01, 0.015, 0.02, 0.025, 0.03, 0.04, 0.05, 0.075, 0.1, 0.15, 0.2, 0.3, 0.5, 1.0, 2.5)
_SCORE_RATIO = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 3.0, 5.0, 10.0)


class StudySchedule(NamedTuple):
    """When the parts of a set were last studied."""

    name: str
    product: str
    age_s: float  # Since the last complete study, or since the set was made.
    overdue: bool
    capable: bool | None  # None if the last study had no limits, or there is none.


class _Studies(Collector):
    """The sets of parts at the time of a scrape: they come and go with their files."""

    def __init__(self, station: str, registry: CollectorRegistry) -> None:
        self._station = station
        self.read: Callable[[], Iterable[StudySchedule]] = tuple
        registry.register(self)

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """Yield a gauge each for age, overdue and capable."""
        labels = ("station", "set", "product")
        age = GaugeMetricFamily("linewatch_study_age_seconds", "Since the last study", labels=labels)
        overdue = GaugeMetricFamily("linewatch_study_overdue", "1 while a study is due", labels=labels)
        capable = GaugeMetricFamily("linewatch_study_capable", "1 if limits were proven", labels=labels)
        for one in self.read():
            values = (self._station, one.name, one.product)
            age.add_metric(values, one.age_s)
            overdue.add_metric(values, one.overdue)
            if one.capable is not None:
                capable.add_metric(values, one.capable)
        yield from (age, overdue, capable)


class Metrics:
    """The station's metrics for Prometheus; every possible series exists from the start.

    Updates are thread-safe. Times are seconds, sizes bytes, as Prometheus' naming guide asks.
    """

    def __init__(self, station: str) -> None:
        # The `_created` series would double the number of counters and are not used.
        disable_created_metrics()  # type: ignore[no-untyped-call]  # the client left its annotations out
        self.registry = CollectorRegistry()
        self._beats: dict[str, int] = {}
        self._expected: dict[str, str] = {}  # Product -> its series at 0, as text.
        self.station = station
        ProcessCollector(registry=self.registry)

        self.inspections = self._counter("inspections", "Verdicts by product and result", "product", "result")
        self.capture_to_verdict = self._histogram(
            "capture_to_verdict_seconds", "Exposure to published verdict"
        ).labels(station)
        self.stage_duration = self._histogram("stage_duration_seconds", "Work on one item", "stage")
        self.score_ratio = self._histogram(
            "score_ratio", "Raw score divided by the threshold", "product", buckets=_SCORE_RATIO
        )
        self.frames_captured = self._counter("frames_captured", "Exposures").labels(station)
        self.frames_dropped = self._counter("frames_dropped", "Exposures that got ERROR unjudged", "reason")
        self.frame_age = self._histogram("frame_age_seconds", "Age of a frame when scoring begins").labels(
            station
        )
        self.camera_up = self._gauge("camera_up", "1 while the source delivers frames").labels(station)
        self.camera_reconnects = self._counter("camera_reconnects", "Times the source came back").labels(
            station
        )
        self.deadline_misses = self._counter("deadline_misses", "Verdicts later than the deadline").labels(
            station
        )
        self.queue_depth = self._gauge("queue_depth", "Items waiting", "queue")
        self.queue_capacity = self._gauge("queue_capacity", "Items that may wait", "queue")
        self.mqtt_connected = self._gauge("mqtt_connected", "1 while the live connection is up").labels(
            station
        )
        self.mqtt_messages = self._counter(
            "mqtt_messages", "Messages by topic and outcome", "topic", "outcome"
        )
        self.outbox_messages = self._gauge("outbox_messages", "Verdicts not yet in the history").labels(
            station
        )
        self.outbox_oldest_age = self._gauge("outbox_oldest_age_seconds", "Age of the oldest of them").labels(
            station
        )
        self.journal_errors = self._counter("journal_errors", "Verdicts the journal refused").labels(station)
        self.journal_rows_late = self._counter(
            "journal_rows_late", "Verdicts published before the disk had confirmed their row"
        ).labels(station)
        self.evidence_bytes = self._gauge("evidence_bytes", "Images kept").labels(station)
        self.evidence_write_errors = self._counter("evidence_write_errors", "Images not kept").labels(station)
        self.evidence_shed = self._counter(
            "evidence_shed", "Frames not kept because the evidence queue was full", "result"
        )
        self.evidence_queue_bytes = self._gauge(
            "evidence_queue_bytes", "Frames that wait to be written, in memory"
        ).labels(station)
        self.evidence_days_left = self._gauge(
            "evidence_days_left", "Days of evidence that the room holds at the present rate"
        ).labels(station)
        self.evidence_retention = self._gauge(
            "evidence_retention_seconds", "Age at which images are deleted"
        ).labels(station)
        self.evidence_files_deleted = self._counter("evidence_files_deleted", "By retention").labels(station)
        self.disk_free = self._gauge("disk_free_bytes", "Free room beside the evidence").labels(station)
        self.state = self._gauge("state", "1 for the state the station is in", "state")
        self.heartbeat = self._gauge("heartbeat_timestamp_seconds", "Last progress of a stage", "stage")
        self.model_info = self._gauge("model_info", "The model in use", "product", "version", "checksum")
        self.model_load = self._gauge("model_load_seconds", "Time to load and check the model").labels(
            station
        )
        self.changeover = self._gauge("changeover_seconds", "Time of the last changeover").labels(station)
        self.selftest_success = self._gauge("selftest_success", "1 if the last self-test passed", "product")
        self.drift_psi = self._gauge("drift_psi", "Population stability index of the scores", "product")
        self.drift = self._gauge("drift", "1 while this has left its usual range", "product", "signal")
        self.brightness_ratio = self._gauge("brightness_ratio", "Relative to the training images", "product")
        self.sharpness_ratio = self._gauge("sharpness_ratio", "Relative to the training images", "product")
        self.shadow_disagreements = self._counter("shadow_disagreements", "Trial against live", "product")
        self._add_links()
        self.triggers = self._counter("triggers", "Triggers received").labels(station)
        self.triggers_missed = self._counter("triggers_missed", "Triggers refused").labels(station)
        self._gauge("build_info", "The version that runs", "version").labels(station, __version__).set(1)
        self._add_records()
        self._add_promises()
        self._create_series()

    def _add_records(self) -> None:
        self.signatures_bytes = self._gauge("signatures_bytes", "Kept for recall").labels(self.station)
        self.signatures_lost = self._counter("signatures_lost", "Scored parts without").labels(self.station)
        self._studies = _Studies(self.station, self.registry)

    def _add_promises(self) -> None:
        self.promise_broken = self._gauge(
            "promise_broken", "1 while a promised rate does not hold", "product", "promise"
        )
        self.promise_rate = self._gauge(
            "promise_rate",
            "What is promised, and the limits of the real rate",
            "product",
            "promise",
            "figure",
        )
        self.reinspections_waiting = self._gauge(
            "reinspections_waiting", "Drawn PASS parts that wait to be inspected again", "product"
        )

    def show_promise(
        self,
        product: str,
        promise: str,
        *,
        broken: bool,
        promised: float,
        low: float,
        high: float,
        waiting: int,
    ) -> None:
        """Show what is known of a promised rate, as shares 0 to 1; `promised` is NaN if nothing was."""
        self.promise_broken.labels(self.station, product, promise).set(broken)
        for figure, rate in (("promised", promised), ("low", low), ("high", high)):
            self.promise_rate.labels(self.station, product, promise, figure).set(rate)
        self.reinspections_waiting.labels(self.station, product).set(waiting)

    def _add_links(self) -> None:
        """Add the metrics of the links beside MQTT."""
        self.modbus_clients = self._gauge("modbus_clients", "Modbus connections").labels(self.station)
        self.modbus_connections = self._counter("modbus_connections", "Modbus connections", "outcome")
        self.modbus_requests = self._counter("modbus_requests", "Modbus requests", "outcome")
        self.opcua_clients = self._gauge("opcua_clients", "OPC UA sessions").labels(self.station)
        self.opcua_connections = self._counter("opcua_connections", "OPC UA connections", "outcome")
        for outcome in ("accepted", "refused", "idle"):
            self.modbus_connections.labels(self.station, outcome)
        for outcome in ("answered", "exception", "malformed"):
            self.modbus_requests.labels(self.station, outcome)
        for outcome in ("accepted", "refused", "malformed", "dropped"):
            self.opcua_connections.labels(self.station, outcome)
        self.sparkplug_connected = self._gauge("sparkplug_connected", "1 while hosts see this node").labels(
            self.station
        )
        self.sparkplug_verdicts = self._counter("sparkplug_verdicts", "Verdicts over Sparkplug", "outcome")
        self.sparkplug_commands = self._counter("sparkplug_commands", "Sparkplug commands", "outcome")
        for outcome in ("live", "historical", "dropped"):
            self.sparkplug_verdicts.labels(self.station, outcome)
        for outcome in ("rebirth", "accepted", "refused"):
            self.sparkplug_commands.labels(self.station, outcome)

    def expect_product(self, product: str) -> None:
        """Show a product's verdicts at 0 until it comes into use, so that its first FAIL is an increase.

        That is a constant text: a scrape costs the same with one product and with fifty.
        """
        series = 'linewatch_inspections_total{{product="{}",result="{}",station="{}"}} 0.0\n'
        self._expected[product] = "".join(series.format(product, result, self.station) for result in Result)

    def know_product(self, product: str) -> None:
        """Make every series of a product exist at 0; it comes into use."""
        self._expected.pop(product, None)
        for result in Result:
            self.inspections.labels(self.station, product, result)
        self.score_ratio.labels(self.station, product)
        self.shadow_disagreements.labels(self.station, product)
        for signal in Signal:
            self.drift.labels(self.station, product, signal).set(0)
        for promise in ("false_rejects", "escapes"):
            self.promise_broken.labels(self.station, product, promise)  # An alarm of before stays.

    def set_state(self, state: State) -> None:
        """Show the state one-hot."""
        for other in State:
            self.state.labels(self.station, other).set(other is state)

    def use_model(self, product: str, version: str, checksum: str) -> None:
        """Show which model judges now, and only that one."""
        self.model_info.clear()
        self.model_info.labels(self.station, product, version, checksum).set(1)

    def watch_studies(self, read: Callable[[], Iterable[StudySchedule]]) -> None:
        """Read the sets of parts at every scrape."""
        self._studies.read = read

    def watch_queue(self, name: str, capacity: int, depth: Callable[[], float]) -> None:
        """Read a lane's depth at every scrape."""
        self.queue_capacity.labels(self.station, name).set(capacity)
        self.queue_depth.labels(self.station, name).set_function(depth)

    def show_beats(self, beats: Mapping[str, int]) -> None:
        """Stamp every stage that has made progress since the last call."""
        for stage, count in beats.items():
            if self._beats.get(stage) != count:
                self._beats[stage] = count
                self.heartbeat.labels(self.station, stage).set_to_current_time()

    def render(self) -> tuple[bytes, str]:
        """Return the exposition text and its content type."""
        text = generate_latest(self.registry).decode()
        expected = "".join(list(self._expected.values()))
        return text.replace(_VERDICTS, _VERDICTS + expected).encode(), CONTENT_TYPE_PLAIN_0_0_4

    def _create_series(self) -> None:
        """Create the series whose labels are known, at 0."""
        for reason in Reason:
            if reason.value >= Reason.STALE:
                self.frames_dropped.labels(self.station, reason.name.lower())
        for result in Result:
            self.evidence_shed.labels(self.station, result)
        for stage in STAGES:
            self.stage_duration.labels(self.station, stage)
            self.heartbeat.labels(self.station, stage)
        for topic in ("verdict", "plc_verdict", "history", "event"):
            for outcome in ("sent", "failed"):
                self.mqtt_messages.labels(self.station, topic, outcome)
        self.set_state(State.STARTING)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, ("station", *labels), namespace="linewatch", registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str) -> Gauge:
        return Gauge(name, text, ("station", *labels), namespace="linewatch", registry=self.registry)

    def _histogram(
        self, name: str, text: str, *labels: str, buckets: tuple[float, ...] = _LATENCY_S
    ) -> Histogram:
        return Histogram(
            name, text, ("station", *labels), namespace="linewatch", registry=self.registry, buckets=buckets
        )
