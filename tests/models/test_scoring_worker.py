"""Uploads judged in a real separate process."""

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
    """Return settings of an empty folder."""
    return models_in(tmp_path)


@pytest.fixture
def worker(models: ModelsSettings) -> Iterator[ScoringWorker]:
    """Return a worker whose process ends with the test."""
    # A process of idle priority waits long where other processes keep every core busy.
    with ScoringWorker(models, "station1", timeout_s=120.0) as worker:
        yield worker


def pid(worker: ScoringWorker) -> int:
    """Return the id of the process that judges."""
    assert worker.pid is not None
    return worker.pid


@pytest.mark.parametrize(
    ("blob", "result", "reason", "defects"),
    [
        (0, Result.PASS, Reason.NONE, 0),
        (18, Result.UNSURE, Reason.NEAR_THRESHOLD, 0),
        (30, Result.FAIL, Reason.ABOVE_THRESHOLD, 1),
    ],
)
def test_an_image_is_judged_as_by_the_line_and_the_command(
    worker: ScoringWorker,
    models: ModelsSettings,
    tmp_path: Path,
    blob: int,
    result: Result,
    reason: Reason,
    defects: int,
) -> None:
    """Verdict and heatmap are those of `linewatch inspect` for the same file."""
    version = teach(models, index=3).version
    (tmp_path / "part.png").write_bytes(png(part(blob)))

    verdict, heatmap = worker.inspect("demo", png(part(blob)))

    assert (verdict.result, verdict.reason, verdict.defects) == (result, reason, defects)
    assert (verdict.station, verdict.boot, verdict.seq) == ("station1", 0, 0)
    assert (verdict.product, verdict.product_index, verdict.model) == ("demo", 3, version)
    assert verdict.box == ((32, 16, 8, 8) if defects else (0, 0, 0, 0))
    assert cv2.imdecode(np.frombuffer(heatmap, np.uint8), cv2.IMREAD_COLOR) is not None
    (found,) = inspect_files("demo", [tmp_path / "part.png"], models.path, models.recipes, threads=1)
    assert verdict.score == found["score"]
    assert verdict.raw == pytest.approx(found["raw"], abs=1e-4)


def test_a_part_of_another_product_is_recognised_by_page_and_command(
    worker: ScoringWorker, models: ModelsSettings, tmp_path: Path
) -> None:
    """Both give the line's verdict; a product that was just trained is recognised in the next image."""
    teach(models, likeness=GREY)
    lid = part() + 40
    (tmp_path / "lid.png").write_bytes(png(lid))
    assert worker.inspect("demo", png(lid))[0].reason is Reason.ABOVE_THRESHOLD

    teach(models, "lid", level=140, golden=[(lid, Result.PASS, 0.0)])

    verdict, heatmap = worker.inspect("demo", png(lid))
    assert (verdict.result, verdict.reason, verdict.product) == (Result.UNSURE, Reason.WRONG_PRODUCT, "demo")
    assert heatmap
    (found,) = inspect_files("demo", [tmp_path / "lid.png"], models.path, models.recipes, threads=1)
    assert (found["result"], found["reason"]) == ("UNSURE", 24)
    assert worker.inspect("demo", png(part()))[0].result is Result.PASS


def test_an_image_without_a_part_is_unsure_and_has_no_heatmap(
    worker: ScoringWorker, models: ModelsSettings
) -> None:
    """Without a score there is no heatmap."""
    registration = Registration(True, False, 0.5, 0.5, 0, 0, area_min=0.1, area_max=0.3)
    teach(models, golden=[], registration=registration)

    verdict, heatmap = worker.inspect("demo", png(part()))

    assert (verdict.result, verdict.reason, heatmap) == (Result.UNSURE, Reason.NOT_REGISTERED, b"")


def test_one_process_serves_all_and_follows_the_active_version(
    worker: ScoringWorker, models: ModelsSettings
) -> None:
    """A model is loaded at its first use, and again after another version was activated."""
    teach(models, "demo", index=1)
    old = teach(models, "lid", index=2).version

    assert worker.inspect("demo", png(part()))[0].product == "demo"
    first = pid(worker)
    assert worker.inspect("lid", png(part()))[0].model == old
    new = teach(models, "lid", level=130, golden=[]).version
    verdict, _ = worker.inspect("lid", png(part(30)))

    assert (verdict.model, verdict.result) == (new, Result.FAIL)
    assert pid(worker) == first


def test_every_thread_of_the_process_has_idle_priority(worker: ScoringWorker, models: ModelsSettings) -> None:
    """The threads of the libraries inherit the scheduling policy too."""
    teach(models)
    worker.inspect("demo", png(part()))

    threads = [int(task.name) for task in Path(f"/proc/{pid(worker)}/task").iterdir()]

    assert {os.sched_getscheduler(thread) for thread in threads} == {os.SCHED_IDLE}


def test_a_large_heatmap_is_shrunk_for_display(worker: ScoringWorker, models: ModelsSettings) -> None:
    """A 12-megapixel image gets a heatmap of SHOWN_SIDE_PX."""
    teach(models, golden=[])

    _, heatmap = worker.inspect("demo", png(np.full((3000, 4000, 3), 100, np.uint8)))

    shown = cv2.imdecode(np.frombuffer(heatmap, np.uint8), cv2.IMREAD_COLOR)
    assert shown is not None and shown.shape == (1200, SHOWN_SIDE_PX, 3)


def test_the_page_gets_the_image_too(worker: ScoringWorker, models: ModelsSettings) -> None:
    """The image is a JPEG of the heatmap's size, whatever the format of the upload."""
    teach(models)
    image = np.full((1000, 2000, 3), 100, np.uint8)

    _, heatmap, picture = worker.inspect_and_show("demo", cv2.imencode(".tiff", image)[1].tobytes())

    shown = [cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR) for jpeg in (heatmap, picture)]
    assert [image.shape for image in shown if image is not None] == [(800, SHOWN_SIDE_PX, 3)] * 2
    assert picture.startswith(b"\xff\xd8") and shown[1] is not None and np.ptp(shown[1]) == 0


@pytest.mark.parametrize("product", ["screw", "../demo"])
def test_an_unknown_product_is_refused(worker: ScoringWorker, product: str) -> None:
    """The error names what is missing."""
    with pytest.raises(RecipeError, match="has no recipe"):
        worker.inspect(product, png(part()))


def test_an_image_that_the_recipe_does_not_fit_is_refused(
    worker: ScoringWorker, models: ModelsSettings
) -> None:
    """The error names the recipe and the image, because either may be wrong."""
    teach(models)
    (models.recipes / "demo.toml").write_text("index = 1\nroi = [0, 0, 100, 100]\n")

    with pytest.raises(RecipeError, match=r"does not fit .* 64x64 pixels do not contain roi"):
        worker.inspect("demo", png(part()))


def test_data_that_is_not_an_image_is_refused_and_the_process_goes_on(
    worker: ScoringWorker, models: ModelsSettings
) -> None:
    """Error classes survive the way from the other process."""
    teach(models)
    worker.inspect("demo", png(part()))
    before = pid(worker)

    with pytest.raises(ImageError, match=r"^image 'upload': is not a picture of a known kind"):
        worker.inspect("demo", b"<svg onload='alert(1)'/>")
    with pytest.raises(ImageTooLarge, match="megapixels"):
        worker.inspect("demo", cv2.imencode(".png", np.zeros((7200, 7200), np.uint8))[1].tobytes())

    assert pid(worker) == before


def test_an_image_that_crashes_the_decoder_ends_only_its_process(
    worker: ScoringWorker, models: ModelsSettings
) -> None:
    """The caller gets an ImageError, and the next image is judged by a new process."""
    teach(models)
    worker.inspect("demo", png(part()))
    os.kill(pid(worker), signal.SIGSEGV)

    with pytest.raises(ImageError, match="cannot be decoded here"):
        worker.inspect("demo", png(part()))

    assert worker.inspect("demo", png(part(30)))[0].result is Result.FAIL


def test_an_image_that_takes_too_long_is_given_up(models: ModelsSettings) -> None:
    """Starting a process takes longer than this timeout: the caller gets an error, the process is ended."""
    teach(models)
    with ScoringWorker(models, "station1", timeout_s=0.1) as worker:
        with pytest.raises(LinewatchError, match=r"no verdict after 0\.1 s: .* try again later"):
            worker.inspect("demo", png(part()))

        assert worker.pid is None


def test_a_line_that_stops_does_not_wait_for_a_verdict(models: ModelsSettings) -> None:
    """Calls in progress and later ones raise an error."""
    teach(models)
    with ScoringWorker(models, "station1", timeout_s=120.0) as worker:
        worker.inspect("demo", png(part()))
        os.kill(pid(worker), signal.SIGSTOP)
        threading.Timer(0.2, worker.abort).start()

        with pytest.raises(LinewatchError):
            worker.inspect("demo", png(part()))
        with pytest.raises(LinewatchError, match="the station stops"):
            worker.inspect("demo", png(part()))


def test_a_process_that_cannot_be_started_is_one_sentence(
    models: ModelsSettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An upgrade may have removed the program, or the process limit is reached."""
    monkeypatch.setattr(sys, "executable", "/nowhere/python")
    with (
        ScoringWorker(models, "station1", timeout_s=120.0) as worker,
        pytest.raises(LinewatchError, match=r"no process for it \(No such file"),
    ):
        worker.inspect("demo", png(part()))


def test_beside_a_line_it_pauses_between_images(models: ModelsSettings) -> None:
    """With half of the time as its share it pauses as long as it worked."""
    teach(models)
    with ScoringWorker(models, "station1", share=0.5, timeout_s=120.0) as worker:
        started = time.monotonic()
        worker.inspect("demo", png(part()))
        worked_s = time.monotonic() - started
        worker.inspect("demo", png(part()))

        assert time.monotonic() - started >= worked_s + min(PAUSE_S_MAX, 0.9 * worked_s)


def test_the_process_ends_with_the_block(models: ModelsSettings) -> None:
    """Leaving the block waits for the exit of the process."""
    teach(models)
    with ScoringWorker(models, "station1", timeout_s=120.0) as worker:
        worker.inspect("demo", png(part()))
        process = pid(worker)

    assert worker.pid is None and not Path(f"/proc/{process}").exists()
