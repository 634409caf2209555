"""Uploads judged in a real process of their own."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import cv2
import numpy as np
import pytest

from linewatch.cli.inspect_files import inspect_files
from linewatch.domain import Reason, Result
from linewatch.errors import ImageError, ImageTooLarge, LinewatchError, RecipeError
from linewatch.models.scoring_worker import PAUSE_S_MAX, SHOWN_SIDE_PX, ScoringWorker
from linewatch.settings import ModelsSettings
from linewatch.vision.registration import Registration
from tests.bundles import GREY, models_in, part, png, teach


@pytest.fixture
def models(tmp_path: Path) -> ModelsSettings:
    """Return a place for models and recipes."""
    return models_in(tmp_path)


@pytest.fixture
def assessor(models: ModelsSettings) -> Iterator[ScoringWorker]:
    """Return an assessor; its process ends with the test."""
    with ScoringWorker(models, "station1") as assessor:
        yield assessor


def pid(assessor: ScoringWorker) -> int:
    """Return the number of the process that judges."""
    assert assessor._process is not None
    return assessor._process.pid


@pytest.mark.parametrize(
    ("blob", "result", "reason", "defects"),
    [
        (0, Result.PASS, Reason.NONE, 0),
        (18, Result.UNSURE, Reason.NEAR_THRESHOLD, 0),
        (30, Result.FAIL, Reason.ABOVE_THRESHOLD, 1),
    ],
)
def test_a_picture_is_judged_as_the_line_and_the_command_would(
    assessor: ScoringWorker,
    models: ModelsSettings,
    tmp_path: Path,
    blob: int,
    result: Result,
    reason: Reason,
    defects: int,
) -> None:
    """Verdict and heatmap; `linewatch inspect` says exactly the same of the same file."""
    version = teach(models, index=3).version
    (tmp_path / "part.png").write_bytes(png(part(blob)))

    verdict, heatmap = assessor.inspect("demo", png(part(blob)))

    assert (verdict.result, verdict.reason, verdict.defects) == (result, reason, defects)
    assert (verdict.station, verdict.boot, verdict.seq) == ("station1", 0, 0)
    assert (verdict.product, verdict.product_index, verdict.model) == ("demo", 3, version)
    assert verdict.box == ((32, 16, 8, 8) if defects else (0, 0, 0, 0))
    assert cv2.imdecode(np.frombuffer(heatmap, np.uint8), cv2.IMREAD_COLOR) is not None
    (told,) = inspect_files("demo", [tmp_path / "part.png"], models.path, models.recipes, threads=1)
    assert verdict.score == told["score"]
    assert verdict.raw == pytest.approx(told["raw"], abs=1e-4)


def test_a_part_of_another_product_is_known_to_page_and_command(
    assessor: ScoringWorker, models: ModelsSettings, tmp_path: Path
) -> None:
    """Both say what the line says; a product that is learnt meanwhile is known with the next picture."""
    teach(models, likeness=GREY)
    lid = part() + 40
    (tmp_path / "lid.png").write_bytes(png(lid))
    assert assessor.inspect("demo", png(lid))[0].reason is Reason.ABOVE_THRESHOLD

    teach(models, "lid", level=140, golden=[(lid, Result.PASS, 0.0)])

    verdict, heatmap = assessor.inspect("demo", png(lid))
    assert (verdict.result, verdict.reason, verdict.product) == (Result.UNSURE, Reason.WRONG_PRODUCT, "demo")
    assert heatmap
    (told,) = inspect_files("demo", [tmp_path / "lid.png"], models.path, models.recipes, threads=1)
    assert (told["result"], told["reason"]) == ("UNSURE", 24)
    assert assessor.inspect("demo", png(part()))[0].result is Result.PASS


def test_a_picture_without_a_part_is_unsure_and_has_no_heatmap(
    assessor: ScoringWorker, models: ModelsSettings
) -> None:
    """Nothing was scored, so there is nothing to show."""
    registration = Registration(True, False, 0.5, 0.5, 0, 0, area_min=0.1, area_max=0.3)
    teach(models, golden=[], registration=registration)

    verdict, heatmap = assessor.inspect("demo", png(part()))

    assert (verdict.result, verdict.reason, heatmap) == (Result.UNSURE, Reason.NOT_REGISTERED, b"")


def test_one_process_serves_all_and_follows_the_active_version(
    assessor: ScoringWorker, models: ModelsSettings
) -> None:
    """A model is loaded when it is first asked for, and again when another version came into use."""
    teach(models, "demo", index=1)
    old = teach(models, "lid", index=2).version

    assert assessor.inspect("demo", png(part()))[0].product == "demo"
    first = pid(assessor)
    assert assessor.inspect("lid", png(part()))[0].model == old
    new = teach(models, "lid", level=130, golden=[]).version
    verdict, _ = assessor.inspect("lid", png(part(30)))

    assert (verdict.model, verdict.result) == (new, Result.FAIL)
    assert pid(assessor) == first


def test_it_takes_the_processor_only_when_nobody_else_wants_it(
    assessor: ScoringWorker, models: ModelsSettings
) -> None:
    """Every thread of it, also those of the libraries, stands behind the line's."""
    teach(models)
    assessor.inspect("demo", png(part()))

    threads = [int(task.name) for task in Path(f"/proc/{pid(assessor)}/task").iterdir()]

    assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_IDLE}


def test_a_large_heatmap_is_made_to_look_at(assessor: ScoringWorker, models: ModelsSettings) -> None:
    """Nobody looks at 12 megapixels of overlay."""
    teach(models, golden=[])

    _, heatmap = assessor.inspect("demo", png(np.full((3000, 4000, 3), 100, np.uint8)))

    shown = cv2.imdecode(np.frombuffer(heatmap, np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None and shown.shape == (1200, SHOWN_SIDE_PX, 3)


def test_the_page_gets_the_picture_too(assessor: ScoringWorker, models: ModelsSettings) -> None:
    """As a JPEG of the heatmap's size, whatever was sent; a trial of every part does not pay for it."""
    teach(models)
    image = np.full((1000, 2000, 3), 100, np.uint8)

    _, heatmap, picture = assessor.show("demo", cv2.imencode(".tiff", image)[1].tobytes())

    shown = [cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) for jpeg in (heatmap, picture)]
    assert [one.shape for one in shown if one is not None] == [(800, SHOWN_SIDE_PX, 3)] * 2
    assert picture.startswith(b"\xff\xd8") and shown[1] is not None and np.ptp(shown[1]) == 0


@pytest.mark.parametrize("product", ["screw", "../demo"])
def test_an_unknown_product_is_refused(assessor: ScoringWorker, product: str) -> None:
    """One sentence says what is missing."""
    with pytest.raises(RecipeError, match="has no recipe"):
        assessor.inspect(product, png(part()))


def test_a_picture_that_the_recipe_does_not_fit_is_refused(
    assessor: ScoringWorker, models: ModelsSettings
) -> None:
    """It is the recipe and the picture that do not go together: one of them is to be changed."""
    teach(models)
    (models.recipes / "demo.toml").write_text("index = 1\nroi = [0, 0, 100, 100]\n")

    with pytest.raises(RecipeError, match=r"does not fit .* 64x64 pixels do not contain roi"):
        assessor.inspect("demo", png(part()))


def test_what_is_no_picture_is_refused_and_the_process_goes_on(
    assessor: ScoringWorker, models: ModelsSettings
) -> None:
    """The kinds of trouble stay apart on their way from the other process."""
    teach(models)
    assessor.inspect("demo", png(part()))
    before = pid(assessor)

    with pytest.raises(ImageError, match=r"^image 'upload': is not a picture of a known kind"):
        assessor.inspect("demo", b"<svg onload='alert(1)'/>")
    with pytest.raises(ImageTooLarge, match="megapixels"):
        assessor.inspect("demo", cv2.imencode(".png", np.zeros((7200, 7200), np.uint8))[1].tobytes())

    assert pid(assessor) == before


def test_a_picture_that_breaks_the_decoder_breaks_nothing_else(
    assessor: ScoringWorker, models: ModelsSettings
) -> None:
    """The process dies, the sender is told, and the next picture is judged by a new one."""
    teach(models)
    assessor.inspect("demo", png(part()))
    os.kill(pid(assessor), signal.SIGSEGV)

    with pytest.raises(ImageError, match="cannot be decoded here"):
        assessor.inspect("demo", png(part()))

    assert assessor.inspect("demo", png(part(30)))[0].result is Result.FAIL


def test_a_picture_that_takes_too_long_is_given_up(
    models: ModelsSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever waits is told to come back, and nothing is left behind."""
    teach(models)
    with ScoringWorker(models, "station1") as assessor:
        assessor.inspect("demo", png(part()))
        os.kill(pid(assessor), signal.SIGSTOP)
        monkeypatch.setattr(assessor, "_assess_s", 0.5)

        with pytest.raises(LinewatchError, match="try again later"):
            assessor.inspect("demo", png(part()))

        assert assessor._process is None


def test_a_line_that_stops_does_not_wait_for_it(models: ModelsSettings) -> None:
    """Whoever waits for a verdict is told, whoever asks later too."""
    teach(models)
    with ScoringWorker(models, "station1") as assessor:
        assessor.inspect("demo", png(part()))
        os.kill(pid(assessor), signal.SIGSTOP)
        cutting = threading.Timer(0.2, assessor.cut)
        cutting.start()

        with pytest.raises(LinewatchError):
            assessor.inspect("demo", png(part()))
        with pytest.raises(LinewatchError, match="the station stops"):
            assessor.inspect("demo", png(part()))


def test_without_a_process_there_is_one_sentence(
    models: ModelsSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upgrade may have taken the program away, or no process is to be had."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with (
        ScoringWorker(models, "station1") as assessor,
        pytest.raises(LinewatchError, match=r"no process for it \(No such file"),
    ):
        assessor.inspect("demo", png(part()))


def test_beside_a_line_it_pauses_between_pictures(models: ModelsSettings) -> None:
    """Whoever uploads one picture after the other gets a share of the machine, not all of it."""
    teach(models)
    with ScoringWorker(models, "station1", share=0.5) as assessor:
        started = time.monotonic()
        assessor.inspect("demo", png(part()))
        worked_s = time.monotonic() - started
        assessor.inspect("demo", png(part()))

        assert time.monotonic() - started >= worked_s + min(PAUSE_S_MAX, 0.9 * worked_s)


def test_it_ends_with_its_block(models: ModelsSettings) -> None:
    """No process stays behind."""
    teach(models)
    with ScoringWorker(models, "station1") as assessor:
        assessor.inspect("demo", png(part()))
        process = assessor._process

    assert process is not None and process.returncode == 0
