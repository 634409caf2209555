"""Learn the demo product from simulated good parts: `python -m linewatch.training.demo`."""

import shutil
import tempfile
from pathlib import Path

import cv2

from linewatch.acquisition.sources.simulator.source import render
from linewatch.models.bundle import Bundle, set_active, versions
from linewatch.training.progress import Report, bar, silent
from linewatch.training.train import train

PRODUCT = "demo"
PARTS = 150
SEED = 20_000  # Far from the seeds that a demonstration runs with: it shows parts never learnt from.
FALSE_REJECT = 0.001  # Every part of a demonstration is looked at: hardly a good one may fail.


def train_demo(models: Path, recipes: Path, *, parts: int = PARTS, progress: Report = silent) -> Bundle:
    """Replace the demo product's model by one learnt from freshly rendered good parts."""
    with tempfile.TemporaryDirectory(prefix="linewatch-demo-") as temporary:
        images = Path(temporary)
        for number in range(1, parts + 1):
            cv2.imwrite(str(images / f"{number:04}.png"), render(SEED, number))
        bundle = train(PRODUCT, images, models, recipes, false_reject=FALSE_REJECT, progress=progress)
    set_active(models, PRODUCT, bundle.version)
    for old in versions(models, PRODUCT):
        if old != bundle.version:
            shutil.rmtree(models / PRODUCT / old)
    return bundle


if __name__ == "__main__":
    with bar() as report:
        made = train_demo(Path("models"), Path("config/recipes"), progress=report)
    print(f"{made.folder}: threshold {made.calibration.threshold:.3f}, {made.folder / 'report.html'}")
