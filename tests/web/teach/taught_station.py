"""A station with one product that was taught, and one that was just begun, for the pages in a browser."""

import json
import time
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np

from linewatch.domain import Comparison, Image, Result
from linewatch.models.bundle import set_active, set_trial
from linewatch.models.recipe_file import write_recipe, write_regions
from linewatch.settings import ModelsSettings
from linewatch.storage.journal import Journal
from linewatch.teach.collector import Collector
from linewatch.teach.datasets import Datasets
from linewatch.teach.thumbnails import Thumbnails
from linewatch.teach_settings import TeachSettings
from linewatch.training.reports.good_images import FILE
from linewatch.vision.recipe import Region
from linewatch.web.backend import ProductInfo
from linewatch.web.teach.teach_backend import TeachBackend
from tests.bundles import teach
from tests.fakes import FakeBackend, frame, verdict
from tests.web.client import OPENED, teaching_in

SHAPE = (960, 1280)
GOOD, ALIKE, PARTS = 30, 4, 40
KINDS = ("test/good", "test/Kratzer", "test/Fehlstelle-Gewinde")


def picture(seed: int, shape: tuple[int, int] = SHAPE) -> Image:
    """Return a part as a camera sees it: texture, light from one side, noise; about 1 MB as PNG."""
    noise = np.random.default_rng(seed)
    height, width = shape
    coarse = noise.integers(60, 150, (height // 16, width // 16), np.uint8)
    light = np.linspace(40, 90, width, dtype=np.float32)[None, :]
    grey = cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).astype(np.float32) + light
    centre = (width // 2 + int(noise.integers(-20, 20)), height // 2)
    cv2.circle(grey, centre, height // 3, 205.0, height // 12)
    grey += noise.normal(0, 3, (height, width))
    grey8 = np.clip(grey, 0, 255).astype(np.uint8)
    return np.repeat(grey8[:, :, None], 3, axis=2)


def lay_out(folder: Path, backend: FakeBackend) -> TeachBackend:
    """Return what teaches beside a line that has delivered a frame.

    "demo" has three versions, one on the line and one on trial, a damaged one, regions, good and labelled
    images with scores, and parts of which some change sides with another threshold; "cup" has nothing.
    """
    models = ModelsSettings(path=folder / "models", recipes=folder / "recipes")
    versions = [
        teach(models, created=f"2026-11-2{day}T10:00:00+00:00", scores=(0.1 * day,) * GOOD, recall=0.1 * day)
        for day in (1, 2, 3)
    ]
    set_active(models.path, "demo", versions[0].version)
    set_active(models.path, "demo", versions[1].version)
    set_trial(models.path, "demo", versions[2].version)
    (versions[0].folder / "manifest.json").write_text("{")
    write_recipe(models.recipes, "cup", 7)
    regions = (
        Region("Gewinde", (200, 100, 300, 300), factor=0.8, min_defect_px=40),
        Region("Dichtfläche außen, umlaufend", (600, 500, 400, 300), threshold=1.75),
    )
    write_regions(models.recipes, "demo", regions)
    used = versions[1].version
    _images(folder, versions[1].folder, used)
    _parts(folder, used, versions[2].version)
    backend.product_infos = [
        ProductInfo("demo", 1, used, 2.0, 1.5),
        ProductInfo("cup", 7, "", 0.0, 0.0),
    ]
    datasets = Datasets(TeachSettings(path=folder / "datasets"))
    thumbnails = Thumbnails(datasets)
    OPENED.append(thumbnails)
    collector = Collector(datasets, thumbnails)
    collector.offer(replace(frame(), image=picture(0)))
    return teaching_in(folder, collector=collector, on_line=lambda: ("demo", used))


def learning_is(folder: Path, **state: object) -> None:
    """Write how the last learning of "demo" ended, as its process does; without `state` it was killed."""
    kept = folder / "datasets/_learning"
    kept.mkdir(parents=True, exist_ok=True)
    job = {"product": "demo", "by": "engineer", "started_ms": time.time_ns() // 1_000_000}
    (kept / "job.json").write_text(json.dumps(job))
    (kept / "state.json").write_text(json.dumps(state))
    (kept / "log").write_text("   0 s   0%  reading the images\n  12 s  40%  extracting features\n")


def _images(folder: Path, version: Path, name: str) -> None:
    datasets = Datasets(TeachSettings(path=folder / "datasets"))
    small = (240, 320)
    names = [datasets.add("demo", "train/good", picture(seed, small)) for seed in range(GOOD)]
    names += [datasets.add("demo", "train/good", picture(0, small)) for _ in range(ALIKE)]
    datasets.add_file("demo", "train/good", b"\x89PNG\r\n\x1a\nrest", "damaged", ".png")
    datasets.add("demo", "left_out", picture(99, small))
    measured = []
    for number, place in enumerate(KINDS, 1):
        kept = [datasets.add("demo", place, picture(100 * number + seed, small)) for seed in range(3)]
        measured += [[place, one, 0.6 * number] for one in kept]
    scores = [{"name": one, "score": 0.4 + 0.07 * n, "group": n} for n, one in enumerate(names)]
    (version / FILE).write_text(json.dumps(scores))
    figures = {"images": 9, "recall": 0.83, "false_reject_rate": 0.0, "image_auroc": 0.97}
    kept_in = folder / "datasets/_measured/demo"
    kept_in.mkdir(parents=True)
    decided = {f"{KINDS[1]}/{measured[3][1]}": ["Gewinde", 0.8]}
    (kept_in / f"{name}.json").write_text(
        json.dumps({"metrics": figures, "images": measured, "decided": decided})
    )
    (kept_in / f"{name}.html").write_text("<!doctype html><title>measured</title>")


def _parts(folder: Path, used: str, tried: str) -> None:
    """Write a journal of parts with frames of full size; half of them near the threshold."""
    evidence = folder / "evidence"
    evidence.mkdir(exist_ok=True)
    png = cv2.imencode(".png", picture(7))[1].tobytes()
    assert len(png) > 1_000_000
    jpeg = cv2.imencode(".jpg", picture(8))[1].tobytes()
    with Journal.open(folder / "journal.db") as journal:
        for seq in range(1, PARTS + 1):
            failed = seq % 4 == 0
            (evidence / f"{seq}.png").write_bytes(png)
            if failed:
                (evidence / f"{seq}.jpg").write_bytes(jpeg)
            journal.append(
                verdict(
                    seq,
                    Result.FAIL if failed else Result.PASS,
                    boot=journal.boot,
                    product="demo",
                    model=used,
                    raw=2.0 + 0.02 * seq if failed else 0.5 + 0.02 * seq,
                    image=f"{seq}.png",
                    heatmap=f"{seq}.jpg" if failed else "",
                    region="Gewinde" if failed else "",
                )
            )
            journal.release(journal.boot, seq)
        compared = [
            Comparison(
                boot=journal.boot,
                seq=seq,
                product="demo",
                model=used,
                result=Result.PASS,
                raw=0.6,
                threshold=2.0,
                latency_ms=40,
                trial_model=tried,
                trial_result=result,
                trial_raw=2.2,
                trial_threshold=2.0,
                trial_ms=90,
            )
            for seq, result in enumerate((Result.PASS, Result.FAIL, Result.UNSURE, Result.PASS), 1)
        ]
        journal.add_comparisons(compared)
        journal.review(journal.boot, 4, "good", "glare", "engineer")
