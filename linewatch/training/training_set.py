"""Build the training set: crops of good parts in standard pose, and image statistics for the quality gate."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from linewatch.errors import NotRegistered, UsageError
from linewatch.models.bundle import ImageStatistics
from linewatch.training.duplicates import group_duplicates
from linewatch.training.foreground import Foreground, find_foreground
from linewatch.training.images import IMAGES_MIN, ImageFolder
from linewatch.training.network.backbone import STRIDE
from linewatch.training.network.features import choose_input_shape
from linewatch.training.pose import (
    Overlap,
    compute_part_mask,
    learn_registration,
    pad_to_aspect,
    registration_helps,
)
from linewatch.vision.image_io import read_mask
from linewatch.vision.image_quality import brightness, sharpness
from linewatch.vision.registration import Registration
from linewatch.vision.scoring import check_area_left, check_mask, map_placement, project_mask, standard_crop

ALIGN = ("auto", "on", "off")
FOREGROUND = ("auto", "on", "off")
_QUANTILES = (0.0, 0.05, 0.25, 0.5, 0.75, 0.95, 1.0)


@dataclass(frozen=True, slots=True)
class TrainingSet:
    """Crops of n good parts in standard pose, on an anomaly-map grid of (rows, columns)."""

    crops: NDArray[np.uint8]  # (n, height, width, 3) BGR
    registration: Registration | None
    part_mask: NDArray[np.float32]  # (rows, columns): 1 where the part may be.
    foreground: Foreground | None  # None: not measured, as the whole crop is inspected.
    inspected: NDArray[np.bool_]  # (n, rows, columns): False where the recipe's mask hides the part.
    names: tuple[str, ...]
    groups: NDArray[np.int_]  # (n,): near-duplicates have the same number; from 0, in the order of names.
    overlap: Overlap | None  # None: registration was not tried.
    left_out: tuple[str, ...]  # Names of images in which the part was not found.

    @property
    def shape(self) -> tuple[int, int]:
        """Height and width of a crop, in pixels."""
        return self.crops.shape[1], self.crops.shape[2]


def build_training_set(folder: ImageFolder, pixels: int, align: str, foreground: str = "auto") -> TrainingSet:
    """Choose registration and input size, and crop each part to its standard pose.

    `pixels` is the wanted input area; the crop is never larger than the original. `align` is one of
    `ALIGN`; "auto" registers only where that improves the overlap of the parts. `foreground` is one of
    `FOREGROUND`; "auto" excludes the background where the part stands out from it, unless the recipe has
    a mask. Raises UsageError and ImageError.
    """
    registration, overlap = (None, None) if align == "off" else learn_registration(folder)
    if align == "on" and registration is None:
        raise UsageError(
            "no part stands out from the background, so it cannot be registered; use --align off"
        )
    if align == "auto" and overlap is not None and not registration_helps(overlap):
        registration = None
    height, width = next(iter(folder)).shape[:2]  # Upsampling would add no detail.
    if registration is None:
        shape = choose_input_shape(height / width, min(pixels, height * width))
    else:
        across, down = registration.extent
        native = round(across * down * max(height, width) ** 2)
        shape = choose_input_shape(down / across, min(pixels, native), stretch=False)
        registration = pad_to_aspect(registration, shape)
    cells = (shape[0] // STRIDE, shape[1] // STRIDE)
    mask = None
    if folder.mask is not None:
        mask = read_mask(folder.mask)
        check_mask(folder.mask, mask, next(folder.frames()))
    crops, inspected, names, left_out = [], [], [], []
    for path, area in zip(folder.paths, folder, strict=True):
        try:
            crop, matrix = standard_crop(area, registration, shape)
        except NotRegistered:
            left_out.append(path.name)
            continue
        crops.append(crop)
        names.append(path.name)
        placement = map_placement(matrix, shape, cells)
        placement[:, 2] += folder.roi_origin
        visible = np.ones(cells, np.bool_)
        if folder.mask is not None and mask is not None:
            visible = project_mask(mask, placement, cells)
            check_area_left(folder.mask, visible)
        inspected.append(visible)
    if len(crops) < IMAGES_MIN:
        raise UsageError(f"the part was found in {len(crops)} of {len(folder)} pictures; use --align off")
    part_mask = np.ones(cells, np.float32)
    if registration is not None and foreground != "off":
        part_mask = compute_part_mask(folder, registration, shape, STRIDE)
    found = None
    if foreground == "on" or (foreground == "auto" and mask is None):
        found = find_foreground(crops, STRIDE)
        part_mask = part_mask * _background_excluded(found, foreground)
    return TrainingSet(
        crops=np.stack(crops),
        registration=registration,
        part_mask=part_mask,
        foreground=found,
        inspected=np.stack(inspected),
        names=tuple(names),
        groups=group_duplicates(crops),
        overlap=overlap,
        left_out=tuple(left_out),
    )


def _background_excluded(found: Foreground, foreground: str) -> NDArray[np.float32]:
    """Return the cells to inspect: all of them where "auto" finds no part that stands out."""
    if foreground == "auto" and not found.stands_out:
        return np.ones(found.coverage.shape, np.float32)
    if not found.part_mask.any():
        raise UsageError("no part stands out from the background; use --foreground off")
    return found.part_mask


def measure_images(folder: ImageFolder) -> ImageStatistics:
    """Return the quantiles of brightness and sharpness of the whole images."""
    measured = [(brightness(frame), sharpness(frame)) for frame in folder.frames()]
    light, edges = np.quantile(np.array(measured), _QUANTILES, axis=0).T
    return ImageStatistics(_rounded(light), _rounded(edges))


def _rounded(values: NDArray[np.float64]) -> tuple[float, ...]:
    return tuple(round(float(value), 4) for value in values)
