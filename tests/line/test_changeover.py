import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from linewatch.domain import Frame, Inspection, Reason, Result, State
from linewatch.errors import RecipeError, SelfTestFailed, StorageFull
from linewatch.line.changeover import Audit, Changeover, recently_used
from linewatch.line.inspector import Inspector
from linewatch.line.metrics import Metrics
from linewatch.line.station import Station
from linewatch.models.bundle import Bundle
from linewatch.models.loader import prepare
from linewatch.settings import ModelsSettings
from linewatch.storage.journal import Journal
from linewatch.vision.registration import Registration
from tests.bundles import GREY, models_in, part, teach
from tests.fakes import frame

WRONG = [(part(), Result.PASS, 1.7)]  # This machine scores it 0.0.


class Watched(Station):
    """A station that notes the modes it is led through."""

    def __init__(self, metrics: Metrics, modes: list[State]) -> None:
        super().__init__("test", 7, "demo", metrics)
        self._modes = modes

    def intend(self, mode: State, reason: str = "") -> None:
        """Note and enter it."""
        self._modes.append(mode)
        super().intend(mode, reason)


class Line:
    """A changeover over real models, and an inspector to see what judges."""

    def __init__(
        self, models: ModelsSettings, audit: Audit | None = None, recent: Sequence[str] = ()
    ) -> None:
        self.metrics = Metrics("test")
        self.modes: list[State] = []
        self.station = Watched(self.metrics, self.modes)
        self.station.camera_back(0)
        self.inspector = Inspector(self.station, self.metrics, frame_age_ms_max=10_000)
        self.changeover = Changeover(
            *(models, self.inspector, self.station, self.metrics, audit or self._keep, recent),
            live=False,
            await_first_s=1e-6,
        )
        self.audit: list[tuple[str, str, str, str, str]] = []

    def _keep(self, who: str, action: str, facts: Mapping[str, object]) -> None:
        self.audit.append((who, action, str(facts["from"]), str(facts["to"]), str(facts["why"])))

    def inspect(self, shown: Frame | None = None) -> tuple[str, str, Result]:
        """Inspect a good part of product demo; return product, model and result."""
        inspection = self.inspect_all(shown or frame(image=part()))
        return inspection.product, inspection.model, inspection.result

    def reason(self, level: int) -> Reason:
        """Inspect a part of an even grey; return the reason."""
        return self.inspect_all(frame(image=part() - 100 + level)).reason

    def inspect_all(self, shown: Frame) -> Inspection:
        """Inspect a frame."""
        (examined,) = self.inspector.examine(shown)
        (inspection,) = self.inspector.inspect(examined)
        return inspection

    def value(self, name: str, **labels: str) -> float | None:
        """Return a metric's value."""
        return self.metrics.registry.get_sample_value(f"linewatch_{name}", {"station": "test", **labels})

    def events(self) -> list[str]:
        """Return the names of the events so far."""
        return [str(event["event"]) for event in self.station.events]


def test_the_first_product_is_tested_before_it_judges(tmp_path: Path) -> None:
    """STARTING, SELFTEST, READY; product, index and version are the model's."""
    models = models_in(tmp_path)
    version = teach(models, index=3).version
    line = Line(models)

    line.changeover.begin("demo")

    now = line.station.snapshot()
    assert line.modes == [State.SELFTEST, State.READY]
    assert (now.product, now.product_index, now.model, now.selftest_passed) == ("demo", 3, version, True)
    assert line.inspect() == ("demo", version, Result.PASS)
    assert line.value("selftest_success", product="demo") == 1
    assert line.value("inspections_total", product="demo", result="FAIL") == 0
    assert (line.value("model_load_seconds") or 0) > 0
    assert line.events() == []


def test_a_change_brings_recipe_model_and_numbers_of_the_new_product(tmp_path: Path) -> None:
    """What passes as demo fails as lid; the PLC's index, the metrics and the event follow."""
    models = models_in(tmp_path)
    teach(models, index=1)
    version = teach(models, "lid", index=7, level=140, golden=[]).version
    line = Line(models)
    line.changeover.begin("demo")

    line.changeover.change("lid", "mqtt")

    assert line.modes[2:] == [State.CHANGEOVER, State.READY]
    assert line.inspect() == ("lid", version, Result.FAIL)
    assert line.station.snapshot().product_index == 7
    assert line.events() == ["product_changed"]
    assert line.station.events[0]["product"] == "lid"
    assert (line.value("changeover_seconds") or 0) > 0
    shown = [s.labels["product"] for m in line.metrics.model_info.collect() for s in m.samples]
    assert shown == ["lid"]


def no_recipe(models: ModelsSettings) -> None:
    """Leave the product without a recipe."""


def no_model(models: ModelsSettings) -> None:
    """Give it a recipe and no model."""
    models.recipes.mkdir(parents=True, exist_ok=True)
    (models.recipes / "lid.toml").write_text("index = 7\n")


def broken_recipe(models: ModelsSettings) -> None:
    """Give it a recipe with a typo."""
    teach(models, "lid")
    (models.recipes / "lid.toml").write_text("indx = 7\n")


def tampered(models: ModelsSettings) -> None:
    """Change one byte of its weights."""
    weights = teach(models, "lid").folder / "scorer.bin"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\xff")


def failed_self_test(models: ModelsSettings) -> None:
    """Record scores that this machine does not reach."""
    teach(models, "lid", golden=WRONG)


def senseless_threshold(models: ModelsSettings) -> None:
    """Let an engineer raise the threshold above the challenge sample."""
    teach(models, "lid")
    (models.recipes / "lid.toml").write_text("index = 7\nthreshold = 4.0\n")


UNFIT: list[tuple[Callable[[ModelsSettings], None], str]] = [
    (no_recipe, "has no recipe"),
    (no_model, "has no active model"),
    (broken_recipe, "indx is not a recipe key; did you mean index?"),
    (tampered, "was changed after training"),
    (failed_self_test, "scores golden sample golden/0.png 0.0000 instead of 1.7000"),
    (senseless_threshold, "must fail but scores 3.000 at threshold 4.000"),
]


@pytest.mark.parametrize(("spoil", "sentence"), UNFIT)
def test_an_unfit_product_leaves_fault_and_never_the_old_product(
    tmp_path: Path, spoil: Callable[[ModelsSettings], None], sentence: str
) -> None:
    """The line must not go on silently with what was there before: every part is an ERROR that says so."""
    models = models_in(tmp_path)
    teach(models, index=1)
    spoil(models)
    line = Line(models)
    line.changeover.begin("demo")

    with pytest.raises(RecipeError, match=re.escape(sentence)):
        line.changeover.change("lid", "mqtt")

    now = line.station.snapshot()
    assert line.modes[2:] == [State.CHANGEOVER, State.FAULT]
    assert sentence in now.reasons[0]
    assert (now.product, now.model, now.selftest_passed) == ("lid", "", False)
    assert line.inspect() == ("lid", "", Result.ERROR)
    assert line.value("selftest_success", product="lid") == 0
    assert line.value("inspections_total", product="lid", result="ERROR") == 0
    assert line.events() == ["selftest_failed"]
    assert line.inspector.prepared is None


def test_a_first_product_that_is_unfit_leaves_fault(tmp_path: Path) -> None:
    """The daemon goes on and accepts another product."""
    models = models_in(tmp_path)
    line = Line(models)
    line.changeover.begin("demo")
    assert line.modes == [State.SELFTEST, State.FAULT]

    version = teach(models).version
    line.changeover.change("demo", "mqtt")
    assert line.inspect() == ("demo", version, Result.PASS)
    assert line.station.snapshot().state is State.READY


def test_a_product_on_a_share_that_is_mounted_late_comes_into_use_by_itself(tmp_path: Path) -> None:
    """Recipe and model may come one after the other; the reason names what is missing now."""
    models = models_in(tmp_path)
    line = Line(models)
    line.changeover.begin("demo")
    assert "has no recipe" in line.station.snapshot().reasons[0]
    version = teach(models).version
    (models.path / "demo" / "active").rename(tmp_path / "active")
    assert line.changeover.awaited_due

    line.changeover.take_up_awaited()
    reason = line.station.snapshot().reasons[0]
    assert "has no active model" in reason and reason.endswith("it is used as soon as it is there")
    (tmp_path / "active").rename(models.path / "demo" / "active")
    line.changeover.take_up_awaited()

    assert line.station.snapshot().state is State.READY
    assert line.inspect() == ("demo", version, Result.PASS)
    assert line.events() == ["selftest_failed"]  # Once, however often it was looked for.
    assert not line.changeover.awaited_due


def test_only_missing_files_are_awaited(tmp_path: Path) -> None:
    """A model that fails its self-test, or a changeover that was answered, waits for a command."""
    models = models_in(tmp_path)
    line = Line(models)
    teach(models, golden=WRONG)
    line.changeover.begin("demo")
    assert not line.changeover.awaited_due

    with pytest.raises(RecipeError):
        line.changeover.change("lid", "mqtt")
    assert not line.changeover.awaited_due
    teach(models, "lid")
    line.changeover.take_up_awaited()
    assert line.station.snapshot().state is State.FAULT


def test_a_model_that_is_missing_at_its_scheduled_test_is_awaited(tmp_path: Path) -> None:
    """A share that is away for a moment must not stop the line until a person comes."""
    models = models_in(tmp_path)
    version = teach(models).version
    line = Line(models)
    line.changeover.begin("demo")
    models.path.rename(tmp_path / "away")

    line.changeover.probe()
    assert line.station.snapshot().state is State.FAULT
    (tmp_path / "away").rename(models.path)
    line.changeover.take_up_awaited()

    assert line.inspect() == ("demo", version, Result.PASS)


def test_a_self_test_reads_recipe_and_model_from_disk_again(tmp_path: Path) -> None:
    """That is how a new threshold or a newly activated version comes into use."""
    models = models_in(tmp_path)
    old = teach(models, index=3).version
    line = Line(models)
    line.changeover.begin("demo")
    new = teach(models, level=80, golden=[]).version
    (models.recipes / "demo.toml").write_text("index = 5\nthreshold = 9.0\n")

    line.changeover.test("mqtt")

    assert new != old
    assert line.inspect() == ("demo", new, Result.PASS)  # 2.0 of 9.0.
    assert line.station.snapshot().product_index == 5
    assert line.modes[2:] == [State.SELFTEST, State.READY]
    assert line.events() == ["model_activated"]
    assert (line.station.events[0]["model"], line.station.events[0]["before"]) == (new, old)


def test_a_self_test_leads_out_of_fault_once_the_cause_is_mended(tmp_path: Path) -> None:
    """Activate the version before, test, and the line goes on; while it is broken it stays in FAULT."""
    models = models_in(tmp_path)
    bundle = teach(models)
    weights, good = bundle.graph.with_suffix(".bin"), bundle.graph.with_suffix(".bin").read_bytes()
    line = Line(models)
    line.changeover.begin("demo")
    weights.write_bytes(b"")

    for _ in range(2):
        with pytest.raises(RecipeError):
            line.changeover.test("mqtt")
        assert line.station.snapshot().state is State.FAULT

    weights.write_bytes(good)
    line.changeover.test("mqtt")
    assert (line.station.snapshot().state, line.inspect()[2]) == (State.READY, Result.PASS)


def test_nothing_passes_from_the_first_line_of_a_change_to_its_last(tmp_path: Path) -> None:
    """While models are loaded the old product does not judge either."""
    models = models_in(tmp_path)
    teach(models)
    teach(models, "lid", index=7)
    line = Line(models)
    line.changeover.begin("demo")
    seen: list[Result] = []
    know = line.metrics.know_product

    def meanwhile(product: str) -> None:
        seen.append(line.inspect()[2])
        know(product)

    line.metrics.know_product = meanwhile  # type: ignore[method-assign]  # called while it is changing
    line.changeover.change("lid", "mqtt")

    assert set(seen) == {Result.ERROR}


def test_a_golden_sample_in_which_no_part_is_found_fails_the_self_test(tmp_path: Path) -> None:
    """Whatever keeps a stored picture from being scored is the model's fault and not a crash."""
    models = models_in(tmp_path)
    teach(models, registration=Registration(True, False, 0.5, 0.5, 0, 0, area_min=0.1, area_max=0.3))

    with pytest.raises(SelfTestFailed, match=r"golden sample golden/0\.png: the part covers 100\.0%"):
        prepare("demo", models)


def test_every_attempt_is_in_the_audit(tmp_path: Path) -> None:
    """Who, from what, to what, and why: also when the product was refused."""
    models = models_in(tmp_path)
    version = teach(models).version
    line = Line(models)
    line.changeover.begin("demo")
    tampered(models)

    with pytest.raises(RecipeError):
        line.changeover.change("lid", "page")

    now = f"demo/{version}"
    assert line.audit[0] == ("linewatch", "in_use", "", now, "start")
    assert line.audit[1][:4] == ("page", "refused", now, "lid")
    assert "was changed after training" in line.audit[1][4]


def test_a_full_journal_does_not_keep_a_product_from_the_line(tmp_path: Path) -> None:
    """What cannot be written into the audit is trouble of the journal: DEGRADED."""
    models = models_in(tmp_path)
    teach(models)

    def full(who: str, action: str, facts: Mapping[str, object]) -> None:
        raise StorageFull("journal", "no room")

    line = Line(models, full)
    line.changeover.begin("demo")

    assert (line.station.snapshot().state, line.inspect()[2]) == (State.DEGRADED, Result.PASS)


def test_a_product_used_before_comes_back_without_being_compiled(tmp_path: Path) -> None:
    """Its recipe, files and golden samples are proven again all the same."""
    models = models_in(tmp_path)
    teach(models)
    teach(models, "lid", level=140, golden=[])
    line = Line(models)
    line.changeover.begin("demo")
    first = line.inspector.prepared
    line.changeover.change("lid", "mqtt")

    line.changeover.change("demo", "mqtt")

    again = line.inspector.prepared
    assert first and again
    assert again.scorer._engine is first.scorer._engine
    tampered(models)
    with pytest.raises(RecipeError, match="was changed after training"):
        line.changeover.change("lid", "mqtt")


def test_without_room_every_product_is_compiled_anew(tmp_path: Path) -> None:
    """Only the one in use stays, whatever the budget."""
    models = models_in(tmp_path).model_copy(update={"resident_bytes_max": 0})
    teach(models)
    teach(models, "lid", level=140, golden=[])
    line = Line(models)
    line.changeover.begin("demo")
    first = line.inspector.prepared
    line.changeover.change("lid", "mqtt")
    line.changeover.change("demo", "mqtt")

    again = line.inspector.prepared
    assert first and again and again.scorer._engine is not first.scorer._engine


def test_a_scheduled_test_leaves_the_line_judging(tmp_path: Path) -> None:
    """It runs beside the line and does not bring a newly activated version into use."""
    models = models_in(tmp_path)
    old = teach(models).version
    line = Line(models)
    line.changeover.begin("demo")
    teach(models, level=80, golden=[])  # Active on disk only.

    line.changeover.probe()

    assert line.modes == [State.SELFTEST, State.READY]
    assert line.inspect() == ("demo", old, Result.PASS)


def test_a_scheduled_test_that_fails_stops_the_line(tmp_path: Path) -> None:
    """A file that rotted on the disk is found before the next changeover needs it."""
    models = models_in(tmp_path)
    bundle = teach(models)
    line = Line(models)
    line.changeover.begin("demo")
    (bundle.folder / "scorer.bin").write_bytes(b"")

    line.changeover.probe()

    assert line.station.snapshot().state is State.FAULT
    assert line.inspect() == ("demo", "", Result.ERROR)
    assert line.events() == ["selftest_failed"]
    assert line.audit[-1][:2] == ("linewatch", "refused")


def test_a_paused_line_is_not_tested_on_schedule(tmp_path: Path) -> None:
    """Its next part is far away, and `resume` must find it as it was."""
    models = models_in(tmp_path)
    bundle = teach(models)
    line = Line(models)
    line.changeover.begin("demo")
    line.station.intend(State.PAUSED, "paused by command")
    (bundle.folder / "scorer.bin").write_bytes(b"")

    line.changeover.probe()

    assert line.station.snapshot().state is State.PAUSED


def test_a_reload_takes_up_what_changed_while_parts_are_judged(tmp_path: Path) -> None:
    """The line need not stop for a new threshold: no part sees another state than READY."""
    models = models_in(tmp_path)
    teach(models)
    line = Line(models)
    line.changeover.begin("demo")
    line.modes.clear()
    recipe = models.recipes / "demo.toml"
    recipe.write_text(recipe.read_text() + "\nunsure_threshold = 1e-6\n")

    line.changeover.reload("reload")

    assert set(line.modes) == {State.READY}
    assert line.inspector.prepared is not None
    assert line.inspector.prepared.recipe.unsure_threshold == 1e-6


def test_a_reload_of_what_is_unfit_now_is_a_fault(tmp_path: Path) -> None:
    """If the files on disk are unfit nothing judges, until a second reload finds them fit."""
    models = models_in(tmp_path)
    teach(models)
    line = Line(models)
    line.changeover.begin("demo")
    recipe = models.recipes / "demo.toml"
    good = recipe.read_text()
    recipe.write_text("index = 0")
    with pytest.raises(RecipeError):
        line.changeover.reload("reload")
    assert line.station.snapshot().state is State.FAULT
    assert line.inspect()[2] is Result.ERROR

    recipe.write_text(good)
    line.changeover.reload("reload")
    assert (line.station.snapshot().state, line.inspect()[2]) == (State.READY, Result.PASS)


def test_a_lamp_that_fades_is_told_once_and_no_more_when_the_product_leaves(tmp_path: Path) -> None:
    """Event and metric; the parts themselves go on passing."""
    models = models_in(tmp_path)
    teach(models)
    teach(models, "lid", level=140, golden=[])
    line = Line(models)
    line.changeover.begin("demo")
    faded = part() - 12  # Scores 1.2 of 2.0.

    assert {line.inspect(frame(image=faded))[2] for _ in range(50)} == {Result.PASS}

    assert line.events() == ["drift"]
    event = line.station.events[0]
    assert (event["product"], event["signal"], event["on"]) == ("demo", "brightness", 1)
    assert line.value("drift", product="demo", signal="brightness") == 1
    assert line.value("drift", product="demo", signal="sharpness") == 0
    line.changeover.change("lid", "mqtt")
    assert line.value("drift", product="demo", signal="brightness") == 0


def test_pictures_too_dark_to_be_judged_are_rejects_too(tmp_path: Path) -> None:
    """The reject rate drifts too, and is reported beside the light."""
    models = models_in(tmp_path)
    teach(models)
    line = Line(models)
    line.changeover.begin("demo")

    assert {line.inspect(frame(image=part() - 95))[2] for _ in range(50)} == {Result.ERROR}

    reported = [event["signal"] for event in line.station.events]
    assert reported == ["brightness", "rejects"]


def teach_lid(models: ModelsSettings, level: int = 140, **facts: Any) -> Bundle:
    """Teach a lid, and what its good parts look like."""
    golden = [(part() - 100 + level, Result.PASS, 0.0)]
    usual: dict[str, Any] = {"likeness": replace(GREY, mean=(level / 10,)), "golden": golden}
    return teach(models, "lid", level=level, **(usual | facts))


def test_a_part_of_another_product_of_this_station_is_known(tmp_path: Path) -> None:
    """In both directions; a part that is like neither is a defect."""
    models = models_in(tmp_path)
    teach(models, likeness=GREY)
    teach_lid(models)
    line = Line(models)
    line.changeover.begin("demo")
    assert [line.reason(level) for level in (100, 140, 60)] == [
        Reason.NONE, Reason.WRONG_PRODUCT, Reason.ABOVE_THRESHOLD,
    ]  # fmt: skip

    line.changeover.change("lid", "mqtt")

    assert [line.reason(level) for level in (100, 140)] == [Reason.WRONG_PRODUCT, Reason.NONE]
    reported = [event["looks_like"] for event in line.station.events if event["event"] == "wrong_product"]
    assert reported == ["lid", "demo"]


def test_a_product_that_was_learnt_meanwhile_is_known_after_a_reload(tmp_path: Path) -> None:
    """And so is another version of it."""
    models = models_in(tmp_path)
    teach(models, likeness=GREY)
    line = Line(models)
    line.changeover.begin("demo")
    assert line.reason(140) is Reason.ABOVE_THRESHOLD

    teach_lid(models)
    line.changeover.reload("reload")
    assert line.reason(140) is Reason.WRONG_PRODUCT

    teach_lid(models, level=180)
    line.changeover.reload("reload")
    assert [line.reason(level) for level in (140, 180)] == [Reason.ABOVE_THRESHOLD, Reason.WRONG_PRODUCT]


def test_a_product_that_comes_back_knows_the_others_still(tmp_path: Path) -> None:
    """Their samples are not scored again: a changeover to a product used before stays quick."""
    models = models_in(tmp_path)
    teach(models, likeness=GREY)
    lid = teach_lid(models)
    line = Line(models)
    line.changeover.begin("demo")
    line.changeover.change("lid", "mqtt")
    (lid.folder / "golden/0.png").unlink()

    line.changeover.change("demo", "mqtt")

    assert line.reason(140) is Reason.WRONG_PRODUCT


def test_a_change_recognises_the_product_before_it_at_once_and_the_others_one_by_one(tmp_path: Path) -> None:
    """With many products a changeover takes no longer; a part of the last product is known from the start."""
    models = models_in(tmp_path)
    teach(models, likeness=GREY)
    teach_lid(models, 140)
    for product, level in (("cup", 165), ("screw", 190)):
        teach(models, product, level=level, golden=[(part() - 100 + level, Result.PASS, 0.0)])
    line = Line(models)
    line.changeover.begin("lid")

    line.changeover.change("demo", "mqtt")

    def nearest() -> list[str]:
        """Return which product parts of lid, cup and screw are taken for."""
        shown = (line.inspect_all(frame(image=part() - 100 + level)) for level in (140, 165, 190))
        return [inspection.scored.looks_like for inspection in shown if inspection.scored]

    assert nearest() == ["lid", "lid", ""]
    line.changeover.recognise_next()
    assert nearest() == ["lid", "cup", "cup"]
    line.changeover.recognise_next()
    line.changeover.recognise_next()
    assert nearest() == ["lid", "cup", "screw"]
    line.changeover.change("lid", "mqtt")
    line.changeover.change("demo", "mqtt")
    assert nearest() == ["lid", "cup", "screw"], "they are cached"


def test_products_in_use_last_are_recognised_first_also_after_a_start(tmp_path: Path) -> None:
    """Their parts are most likely left on the belt; the audit knows them from before the start."""
    models = models_in(tmp_path)
    teach(models, likeness=GREY)
    for product, level in (("cup", 140), ("screw", 190)):
        teach(models, product, level=level, golden=[(part() - 100 + level, Result.PASS, 0.0)])
    teach_lid(models, 165)
    with Journal.open(tmp_path / "journal.db") as journal:
        before = Line(models, journal.audit)
        for product in ("demo", "screw", "lid"):
            before.changeover.change(product, "mqtt")
        assert recently_used(journal) == ["lid", "screw", "demo"]
        line = Line(models, recent=recently_used(journal))
    line.changeover.begin("lid")
    line.changeover.change("demo", "mqtt")

    line.changeover.recognise_next()

    scored = line.inspect_all(frame(image=part() - 100 + 190)).scored
    assert scored is not None and scored.looks_like == "screw"


def test_a_damaged_other_product_keeps_nobody_from_the_line(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is named in the log; its parts are defects then, as before it was known."""
    models = models_in(tmp_path)
    teach(models, likeness=GREY)
    (teach_lid(models).folder / "golden/0.png").write_bytes(b"rotten")
    line = Line(models)

    line.changeover.begin("demo")

    assert line.station.snapshot().state is State.READY
    assert [line.reason(level) for level in (100, 140)] == [Reason.NONE, Reason.ABOVE_THRESHOLD]
    assert "reference_unavailable product=demo other=lid" in caplog.text


@pytest.mark.parametrize("facts", [{"embedding": False}, {"likeness": None}])
def test_a_model_of_an_earlier_version_judges_as_ever(tmp_path: Path, facts: dict[str, Any]) -> None:
    """It cannot tell another product, so that is a defect."""
    models = models_in(tmp_path)
    teach(models)
    teach_lid(models, **facts)
    line = Line(models)

    line.changeover.begin("lid")

    assert [line.reason(level) for level in (140, 100)] == [Reason.NONE, Reason.ABOVE_THRESHOLD]


def test_the_usual_rate_of_rejects_is_remembered_until_the_recipe_changes(tmp_path: Path) -> None:
    """A changeover to and fro does not make the line learn again."""
    models = models_in(tmp_path)
    teach(models)
    teach(models, "lid", level=140, golden=[])
    line = Line(models)
    line.changeover.begin("demo")
    usual = line.changeover._usual["demo"][1]
    line.changeover.change("lid", "mqtt")

    line.changeover.change("demo", "mqtt")
    assert line.changeover._usual["demo"][1] is usual

    (models.recipes / "demo.toml").write_text("index = 1\nthreshold = 2.5\n")
    line.changeover.test("mqtt")
    assert line.changeover._usual["demo"][1] is not usual


def test_a_changeover_says_when_it_was_and_how_long_it_took(tmp_path: Path) -> None:
    """The duration of the event has a key of its own beside its time stamp, UTC."""
    models = models_in(tmp_path)
    teach(models)
    line = Line(models)
    line.changeover.begin("demo")
    before_ms = time.time_ns() // 1_000_000

    line.changeover.change("demo", "mqtt")

    (event,) = [event for event in line.station.events if event["event"] == "product_changed"]
    stamp, took = event["ms"], event["took_ms"]
    assert isinstance(stamp, int) and before_ms <= stamp <= time.time_ns() // 1_000_000
    assert isinstance(took, int) and took < 60_000
