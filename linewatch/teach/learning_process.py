"""What the learning process does: train, then measure the version on the labelled images."""

import json
import os
import resource
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from linewatch.errors import LinewatchError
from linewatch.runtime.atomic_files import write_text

EVERY_S = 0.5  # Between two writes of the progress.
TRAIN_SHARE = 0.9  # Of all work.


class Progress:
    """Writes how far the work is into `state.json`, and each new step into the log."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "state.json"
        self._started_s = time.monotonic()
        self._written_s = 0.0
        self._doing = ""
        self.base, self.part = 0.0, TRAIN_SHARE

    def __call__(self, doing: str, done: float) -> None:
        """Note a step and the completed share of the current part of the work, 0 to 1."""
        share = round(self.base + self.part * done, 3)
        now = time.monotonic()
        if doing != self._doing:
            print(f"{now - self._started_s:4.0f} s {share:4.0%}  {doing}", flush=True)
        elif now - self._written_s < EVERY_S:
            return
        self._doing, self._written_s = doing, now
        self.write(doing=doing, share=share)

    def write(self, **facts: object) -> None:
        """Replace the state file."""
        write_text(self._path, json.dumps({"pid": os.getpid(), **facts}))

    def end(self, outcome: str, sentence: str, version: str = "") -> None:
        """Write the outcome."""
        print(sentence, flush=True)
        share = 1.0 if outcome == "done" else 0.0
        ended_ms = time.time_ns() // 1_000_000
        self.write(outcome=outcome, sentence=sentence, version=version, share=share, ended_ms=ended_ms)


def main() -> None:
    """Learn as `job.json` in the folder on the command line says."""
    folder = Path(sys.argv[1])
    job = json.loads((folder / "job.json").read_text(encoding="utf-8"))
    limit = job["memory_bytes_max"]
    resource.setrlimit(resource.RLIMIT_DATA, (limit, limit))
    _clean(folder, job)
    progress = Progress(folder)
    progress("starting", 0.0)
    try:
        version, sentence = learn(job, progress)
    except LinewatchError as trouble:
        progress.end("failed", str(trouble))
    except MemoryError:
        progress.end("failed", "learning needs more memory than teach.memory_bytes_max; use fewer images")
    else:
        progress.end("done", sentence, version)
    shutil.rmtree(folder / "tmp", ignore_errors=True)


def learn(job: dict[str, Any], progress: Progress) -> tuple[str, str]:
    """Train and measure; return the version and a sentence on it. Raises LinewatchError."""
    import cv2  # noqa: PLC0415

    from linewatch.models.training_quality import summarize_training  # noqa: PLC0415
    from linewatch.teach.datasets import Datasets  # noqa: PLC0415
    from linewatch.teach.measuring import measure  # noqa: PLC0415
    from linewatch.teach_settings import TeachSettings  # noqa: PLC0415
    from linewatch.training.train import train  # noqa: PLC0415

    cv2.setNumThreads(job["threads"])
    product, models, recipes = job["product"], Path(job["models"]), Path(job["recipes"])
    datasets = Datasets(TeachSettings(path=Path(job["datasets"])))
    bundle = train(
        product,
        datasets.folder(product, "train/good"),
        models,
        recipes,
        false_reject=job["false_reject"],
        pixels=job["pixels"],
        activate_first=False,
        progress=progress,
    )
    progress.base, progress.part = TRAIN_SHARE, 1 - TRAIN_SHARE
    sentence = summarize_training(bundle.training)
    try:
        measure(datasets, product, models, recipes, bundle.version, threads=job["threads"], progress=progress)
    except LinewatchError as trouble:  # The version is there all the same.
        sentence += f" It was not measured on the labelled images: {trouble}."
    return bundle.version, sentence


def _clean(folder: Path, job: dict[str, Any]) -> None:
    """Remove what a killed process left: its temporary files, and versions that were not complete."""
    shutil.rmtree(folder / "tmp", ignore_errors=True)
    (folder / "tmp").mkdir(exist_ok=True)
    for left in (Path(job["models"]) / job["product"]).glob(".new-*"):
        shutil.rmtree(left, ignore_errors=True)


if __name__ == "__main__":
    main()
