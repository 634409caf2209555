"""Add the images of reviewed parts to a data set."""

from pathlib import Path

from linewatch.errors import StorageFull
from linewatch.teach.datasets import Datasets
from linewatch.teaching import TEST, TRAIN_GOOD
from linewatch.training.reviewed_parts import DEFECT, GOOD, reviewed_images

PLACES = {GOOD: TRAIN_GOOD, DEFECT: f"{TEST}defect"}


def add_reviewed(datasets: Datasets, product: str, journal: Path, evidence: Path) -> dict[str, int]:
    """Copy the frames of reviewed parts that are not there yet; return how many good and defective.

    Frames that were left out before stay out. Raises UsageError and StorageFull.
    """
    added = dict.fromkeys(PLACES, 0)
    there = {Path(name).stem for place in datasets.places(product) for name in datasets.names(product, place)}
    for name, actual, image in reviewed_images(journal, evidence, product):
        if name in there:
            continue
        try:
            data = image.read_bytes()
        except OSError as error:
            raise StorageFull(image, f"{error.strerror}; try again") from error
        datasets.add_file(product, PLACES[actual], data, name, image.suffix)
        added[actual] += 1
    return added
