"""Train the demo product on simulated good parts: `python -m linewatch.training.demo`."""

import shutil
import tempfile
from pathlib import Path

import cv2

from linewatch.acquisition.sources.simulator.source import render
from linewatch.models.bundle import Bundle, set_active, versions
from linewatch.training.progress import ProgressCallback, no_progress, progress_bar
from linewatch.training.train import train

PRODUCT = "demo"
PARTS = 150
SEED = 20_000  # Far from the seeds of a demonstration, which so shows parts outside the training set.
FALSE_REJECT = 0.001  # Viewers see each part of a demonstration: a good one should hardly ever fail.


def train_demo(
    models: Path, recipes: Path, *, parts: int = PARTS, progress: ProgressCallback = no_progress
) -> Bundle:
    """Train on `parts` newly rendered good parts and replace the demo product's models by the result."""
    with tempfile.TemporaryDirectory(prefix="linewatch-demo-") as temporary:
        images = Path(temporary) / "parts"  # The report names the folder: the same at each training.
        images.mkdir()
        for number in range(1, parts + 1):
            cv2.imwrite(str(images / f"{number:04}.png"), render(SEED, number))
        bundle = train(PRODUCT, images, models, recipes, false_reject=FALSE_REJECT, progress=progress)
    set_active(models, PRODUCT, bundle.version)
    for old in versions(models, PRODUCT):
        if old != bundle.version:
            shutil.rmtree(models / PRODUCT / old)
    return bundle


if __name__ == "__main__":
    with progress_bar() as progress:
        bundle = train_demo(Path("models"), Path("config/recipes"), progress=progress)
    print(f"{bundle.folder}: threshold {bundle.calibration.threshold:.3f}, {bundle.folder / 'report.html'}")
