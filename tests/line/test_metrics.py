import subprocess
from collections.abc import Mapping

import pytest
from prometheus_client import Metric
from prometheus_client.parser import text_string_to_metric_families

from linewatch import __version__
from linewatch.domain import Reason, Result, State
from linewatch.line.metrics import STAGES, Metrics, StudySchedule

# What dashboards, alarms and acceptance rely on: name, type, labels beside `station`.
CONTRACT: list[tuple[str, str, set[str]]] = [
    ("inspections_total", "counter", {"product", "result"}),
    ("capture_to_verdict_seconds", "histogram", set()),
    ("stage_duration_seconds", "histogram", {"stage"}),
    ("score_ratio", "histogram", {"product"}),
    ("frames_captured_total", "counter", set()),
    ("frames_dropped_total", "counter", {"reason"}),
    ("frame_age_seconds", "histogram", set()),
    ("camera_up", "gauge", set()),
    ("camera_reconnects_total", "counter", set()),
    ("deadline_misses_total", "counter", set()),
    ("queue_depth", "gauge", {"queue"}),
    ("queue_capacity", "gauge", {"queue"}),
    ("mqtt_connected", "gauge", set()),
    ("mqtt_messages_total", "counter", {"topic", "outcome"}),
    ("outbox_messages", "gauge", set()),
    ("outbox_oldest_age_seconds", "gauge", set()),
    ("journal_errors_total", "counter", set()),
    ("journal_rows_late_total", "counter", set()),
    ("evidence_bytes", "gauge", set()),
    ("evidence_write_errors_total", "counter", set()),
    ("evidence_shed_total", "counter", {"result"}),
    ("evidence_queue_bytes", "gauge", set()),
    ("evidence_days_left", "gauge", set()),
    ("evidence_retention_seconds", "gauge", set()),
    ("evidence_files_deleted_total", "counter", set()),
    ("signatures_bytes", "gauge", set()),
    ("signatures_lost_total", "counter", set()),
    ("disk_free_bytes", "gauge", set()),
    ("state", "gauge", {"state"}),
    ("heartbeat_timestamp_seconds", "gauge", {"stage"}),
    ("model_info", "gauge", {"product", "version", "checksum"}),
    ("model_load_seconds", "gauge", set()),
    ("changeover_seconds", "gauge", set()),
    ("selftest_success", "gauge", {"product"}),
    ("drift_psi", "gauge", {"product"}),
    ("drift", "gauge", {"product", "signal"}),
    ("brightness_ratio", "gauge", {"product"}),
    ("sharpness_ratio", "gauge", {"product"}),
    ("shadow_disagreements_total", "counter", {"product"}),
    ("modbus_clients", "gauge", set()),
    ("modbus_connections_total", "counter", {"outcome"}),
    ("modbus_requests_total", "counter", {"outcome"}),
    ("opcua_clients", "gauge", set()),
    ("opcua_connections_total", "counter", {"outcome"}),
    ("sparkplug_connected", "gauge", set()),
    ("sparkplug_verdicts_total", "counter", {"outcome"}),
    ("sparkplug_commands_total", "counter", {"outcome"}),
    ("triggers_total", "counter", set()),
    ("triggers_missed_total", "counter", set()),
    ("build_info", "gauge", {"version"}),
    ("promise_broken", "gauge", {"product", "promise"}),
    ("promise_rate", "gauge", {"product", "promise", "figure"}),
    ("reinspections_waiting", "gauge", {"product"}),
    ("study_age_seconds", "gauge", {"set", "product"}),
    ("study_overdue", "gauge", {"set", "product"}),
    ("study_capable", "gauge", {"set", "product"}),
]


def in_use() -> Metrics:
    """Return metrics of a station that has judged a part, so that every family has a series."""
    metrics = Metrics("station1")
    metrics.know_product("bottle")
    metrics.use_model("bottle", "7f3a91c2", "0123456789abcdef")
    metrics.watch_queue("frames", 4, lambda: 3)
    metrics.show_beats(dict.fromkeys(STAGES, 1))
    for ratio in (metrics.drift_psi, metrics.brightness_ratio, metrics.sharpness_ratio):
        ratio.labels("station1", "bottle").set(1.0)
    metrics.selftest_success.labels("station1", "bottle").set(1)
    metrics.show_promise("bottle", "escapes", broken=True, promised=0.01, low=0.02, high=0.04, waiting=3)
    metrics.watch_studies(lambda: [StudySchedule("weekly", "bottle", 3.5, overdue=False, capable=True)])
    return metrics


def families(metrics: Metrics) -> dict[str, Metric]:
    """Parse what Prometheus would read; names as they are in the text."""
    text = metrics.render()[0].decode()
    found = {family.name: family for family in text_string_to_metric_families(text)}
    return {f"{name}_total" if family.type == "counter" else name: family for name, family in found.items()}


def value(metrics: Metrics, name: str, labels: Mapping[str, str] | None = None) -> float | None:
    """Return one series' value, None if it is not there."""
    return metrics.registry.get_sample_value(
        f"linewatch_{name}", {"station": "station1"} | dict(labels or {})
    )


@pytest.mark.parametrize(("name", "kind", "labels"), CONTRACT)
def test_every_metric_has_its_name_type_and_labels(name: str, kind: str, labels: set[str]) -> None:
    """Dashboards and alarms find what the contract promises, with `station` everywhere."""
    family = families(in_use())[f"linewatch_{name}"]

    assert family.type == kind
    assert family.documentation
    assert family.samples
    for sample in family.samples:
        assert set(sample.labels) - {"le"} == labels | {"station"}
        assert sample.labels["station"] == "station1"


def test_nothing_is_there_that_the_contract_does_not_name() -> None:
    """A new metric must be added to the list above and to the documents."""
    ours = {name for name in families(in_use()) if name.startswith("linewatch_")}

    assert ours == {f"linewatch_{name}" for name, _, _ in CONTRACT}


def test_sets_of_parts_come_and_go_with_their_files() -> None:
    """A set that is due is 1; without a study with limits there is no word on being capable."""
    metrics, sets = Metrics("station1"), [StudySchedule("weekly", "bottle", 9.0, overdue=True, capable=None)]
    metrics.watch_studies(lambda: sets)
    labels = {"set": "weekly", "product": "bottle"}

    assert value(metrics, "study_overdue", labels) == 1
    assert value(metrics, "study_age_seconds", labels) == 9
    assert value(metrics, "study_capable", labels) is None
    sets.clear()
    assert value(metrics, "study_overdue", labels) is None


def test_the_process_itself_is_measured() -> None:
    """Memory, processor time and open files come from the client library."""
    assert {"process_resident_memory_bytes", "process_cpu_seconds_total", "process_open_fds"} <= set(
        families(Metrics("station1"))
    )


def test_prometheus_accepts_the_text() -> None:
    """Promtool finds no syntax error, and one name that breaks its conventions: people think in days."""
    text, kind = in_use().render()
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)

    assert done.stdout == b""
    assert done.stderr.decode().splitlines() == [
        'linewatch_evidence_days_left use base unit "seconds" instead of "days"'
    ]
    assert kind.startswith("text/plain; version=0.0.4")


def test_every_verdict_series_is_there_at_zero() -> None:
    """The first FAIL of a product is an increase, and its alarm sees it."""
    metrics = Metrics("station1")
    metrics.know_product("bottle")

    for result in Result:
        assert value(metrics, "inspections_total", {"product": "bottle", "result": result.value}) == 0
    assert value(metrics, "score_ratio_count", {"product": "bottle"}) == 0
    assert value(metrics, "shadow_disagreements_total", {"product": "bottle"}) == 0


def test_an_expected_product_is_shown_at_zero_until_it_comes_into_use() -> None:
    """Its series stand in the family of the others, and are there once."""
    metrics = Metrics("station1")
    metrics.know_product("bottle")
    metrics.expect_product("cup")
    metrics.expect_product("lid")

    def shown() -> dict[tuple[str, str], float]:
        samples = families(metrics)["linewatch_inspections_total"].samples
        found = {(s.labels["product"], s.labels["result"]): s.value for s in samples}
        assert len(found) == len(samples)
        return found

    products = ("bottle", "cup", "lid")
    assert shown() == {(product, result.value): 0.0 for product in products for result in Result}
    metrics.know_product("lid")
    metrics.inspections.labels("station1", "lid", Result.FAIL).inc()
    assert len(shown()) == 12 and shown()["lid", "FAIL"] == 1
    assert metrics.render()[0].count(b"# TYPE linewatch_inspections_total") == 1


def test_products_that_are_not_in_use_cost_a_scrape_nothing() -> None:
    """Only their verdicts are shown: histograms would make the text of 50 products ten times longer."""

    def text(products: int) -> list[str]:
        metrics = Metrics("station1")
        for number in range(products):
            metrics.expect_product(f"product{number}")
        metrics.know_product("product0")
        return metrics.render()[0].decode().splitlines()

    assert len(text(50)) == len(text(1)) + 49 * len(Result)


def test_every_counter_of_trouble_is_there_at_zero() -> None:
    """The first lost message, dropped frame or late verdict is an increase too."""
    metrics = Metrics("station1")

    for topic in ("verdict", "plc_verdict", "history", "event"):
        for outcome in ("sent", "failed"):
            assert value(metrics, "mqtt_messages_total", {"topic": topic, "outcome": outcome}) == 0
    for reason in (reason for reason in Reason if reason >= Reason.STALE):
        assert value(metrics, "frames_dropped_total", {"reason": reason.name.lower()}) == 0
    for name in ("deadline_misses", "journal_errors", "evidence_write_errors", "triggers_missed"):
        assert value(metrics, f"{name}_total") == 0


def test_the_state_is_one_hot() -> None:
    """Exactly one state is 1, from the first scrape on."""
    metrics = Metrics("station1")

    def shown() -> dict[str, float | None]:
        return {state.value: value(metrics, "state", {"state": state.value}) for state in State}

    assert shown() == {state.value: float(state is State.STARTING) for state in State}
    metrics.set_state(State.FAULT)
    assert shown() == {state.value: float(state is State.FAULT) for state in State}


def test_only_the_model_in_use_is_shown() -> None:
    """After a changeover the old model's series is gone, not 1 beside the new one."""
    metrics = Metrics("station1")
    metrics.use_model("bottle", "11111111", "aa")
    metrics.use_model("screw", "22222222", "bb")

    shown = [sample.labels for sample in families(metrics)["linewatch_model_info"].samples]
    assert shown == [{"station": "station1", "product": "screw", "version": "22222222", "checksum": "bb"}]


def test_a_queue_is_read_at_every_scrape() -> None:
    """Depth is read at each scrape; producers and consumers do not update it."""
    metrics = Metrics("station1")
    waiting = [1, 2]
    metrics.watch_queue("frames", 4, waiting.__len__)
    assert value(metrics, "queue_depth", {"queue": "frames"}) == 2

    waiting.clear()
    assert value(metrics, "queue_depth", {"queue": "frames"}) == 0
    assert value(metrics, "queue_capacity", {"queue": "frames"}) == 4


def test_a_heartbeat_is_stamped_only_when_its_stage_moved() -> None:
    """An alarm on an old stamp finds the hung stage."""
    metrics = Metrics("station1")
    assert value(metrics, "heartbeat_timestamp_seconds", {"stage": "inspect"}) == 0

    def stamps(**beats: int) -> tuple[float, float]:
        metrics.show_beats(beats)
        found = [
            value(metrics, "heartbeat_timestamp_seconds", {"stage": stage}) for stage in ("inspect", "record")
        ]
        assert found[0] is not None and found[1] is not None
        return found[0], found[1]

    first = stamps(inspect=1, record=1)
    assert min(first) > 1_700_000_000
    second = stamps(inspect=1, record=2)

    assert second[0] == first[0]
    assert second[1] > first[1]


def test_the_version_is_shown() -> None:
    """A plant sees which station still runs the old one."""
    assert value(Metrics("station1"), "build_info", {"version": __version__}) == 1


def test_two_stations_in_one_process_do_not_mix() -> None:
    """Each has a registry of its own."""
    one, two = Metrics("one"), Metrics("two")
    one.frames_captured.inc()

    assert two.registry.get_sample_value("linewatch_frames_captured_total", {"station": "two"}) == 0
    assert b'station="one"' not in two.render()[0]


def test_an_alarm_stays_when_its_product_comes_into_use_again() -> None:
    """A changeover makes series exist, at 0 only those that were not there."""
    metrics = in_use()
    metrics.know_product("bottle")
    labels = {"product": "bottle", "promise": "escapes"}

    assert value(metrics, "promise_broken", labels) == 1
    assert value(metrics, "promise_broken", labels | {"promise": "false_rejects"}) == 0
    assert value(metrics, "promise_rate", labels | {"figure": "high"}) == 0.04
    assert value(metrics, "reinspections_waiting", {"product": "bottle"}) == 3
