"""From a folder of good pictures to crops of good parts in their standard pose."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linewatch.errors import NotRegistered, UsageError
from linewatch.models.bundle import ImageStatistics
from linewatch.training.images import IMAGES_MIN, Folder
from linewatch.training.network.backbone import STRIDE
from linewatch.training.network.features import input_shape
from linewatch.training.pose import Overlap, cover, fitted, learn_registration, pays
from linewatch.vision.image_io import read_mask
from linewatch.vision.image_quality import brightness, sharpness
from linewatch.vision.registration import Registration
from linewatch.vision.scoring import check_area_left, check_mask, map_placement, project_mask, standard_crop

ALIGN = ("auto", "on", "off")
_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Good parts in their standard pose."""

    crops: NDArray[np.uint8]  # (n, height, width, 3)
    registration: Registration | None
    part: NDArray[np.float32]  # (rows, columns): 1 where the part may be.
    seen: NDArray[np.bool_]  # (n, rows, columns): False where the recipe's mask covers the part.
    names: tuple[str, ...]
    overlap: Overlap | None  # None: registration was not asked for.
    left_out: tuple[str, ...]  # Names of pictures in which the part was not found.

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of a crop."""
        return self.crops.shape[1], self.crops.shape[2]


def prepare(folder: Folder, pixels: int, align: str) -> TrainingSet:
    """Decide on registration and input size, and cut out every part. Raises UsageError and ImageError."""
    registration, overlap = (None, None) if align == "off" else learn_registration(folder)
    if align == "on" and registration is None:
        raise UsageError(
            "no part stands out from the background, so it cannot be registered; use --align off"
        )
    if align == "auto" and overlap is not None and not pays(overlap):
        registration = None
    height, width = next(iter(folder)).shape[:2]  # Enlarging a picture shows nothing more.
    if registration is None:
        shape = input_shape(height / width, min(pixels, height * width))
    else:
        across, down = registration.extent
        native = round(across * down * max(height, width) ** 2)
        shape = input_shape(down / across, min(pixels, native), stretch=False)
        registration = fitted(registration, shape)
    cells = (shape[0] // STRIDE, shape[1] // STRIDE)
    mask = None
    if folder.mask is not None:
        mask = read_mask(folder.mask)
        check_mask(folder.mask, mask, next(folder.frames()))
    crops, seen, names, left_out = [], [], [], []
    for path, area in zip(folder.paths, folder, strict=True):
        try:
            crop, matrix = standard_crop(area, registration, shape)
        except NotRegistered:
            left_out.append(path.name)
            continue
        crops.append(crop)
        names.append(path.name)
        placement = map_placement(matrix, shape, cells)
        placement[:, 2] += folder.corner
        inspected_area = np.ones(cells, np.bool_)
        if folder.mask is not None and mask is not None:
            inspected_area = project_mask(mask, placement, cells)
            check_area_left(folder.mask, inspected_area)
        seen.append(inspected_area)
    if len(crops) < IMAGES_MIN:
        raise UsageError(f"the part was found in {len(crops)} of {len(folder)} pictures; use --align off")
    part = np.ones(cells, np.float32)
    if registration is not None:
        part = cover(folder, registration, shape, STRIDE)
    return TrainingSet(
        np.stack(crops), registration, part, np.stack(seen), tuple(names), overlap, tuple(left_out)
    )


def measure(folder: Folder) -> ImageStatistics:
    """Return how bright and how sharp the whole frames are."""
    figures = [(brightness(frame), sharpness(frame)) for frame in folder.frames()]
    light, edges = np.quantile(np.array(figures), _QUANTILES, axis=0).T
    return ImageStatistics(_rounded(light), _rounded(edges))


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)
