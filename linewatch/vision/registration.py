"""Find the part in the image and compute the transform to its standard pose."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from linewatch.domain import Image
from linewatch.errors import NotRegistered
from linewatch.vision.image_io import shrink_whole

_COARSE_PX = 1024  # Golden samples are no larger, so their pose stays as it was when they were recorded.
_WORK_PX = 256  # Longer side of the image on which the pose is measured: fast, and without fine texture.


@dataclass(frozen=True, slots=True)
class Registration:
    """How one product's parts are brought into their standard pose; learnt from good images.

    Lengths are fractions of the longer side of the inspected area, so they hold for any resolution.
    """

    bright_part: bool  # Whether the part is brighter than its background.
    turn: bool  # Whether to align the long axis; a round part is only centred.
    length: float  # Size of the standard crop along the part's long axis, or horizontally without `turn`.
    width: float  # Size of the standard crop at right angles to that.
    ahead: float  # Offset from the part's centroid to the centre of the crop, in column direction,
    aside: float  # and in row direction.
    area_min: float  # Smallest share of the image that the part may cover.
    area_max: float  # Largest share.

    @property
    def extent(self) -> tuple[float, float]:
        """Width and height of the standard crop; the long axis of a turned part is horizontal."""
        return self.length, self.width


@dataclass(frozen=True, slots=True)
class Pose:
    """Position and orientation of a part, in pixels of the mask; extents are relative to the centroid."""

    centre: tuple[float, float]  # x, y of the centroid.
    axis: tuple[float, float]  # Unit vector of the long axis, pointing towards the lighter end.
    along: tuple[float, float]  # First and last position of the part along the axis.
    across: tuple[float, float]  # The same at right angles to the axis.
    area_px: int
    elongation: float  # Standard deviation along the axis over that across it, 1 or more.


def foreground(image: Image, bright_part: bool) -> NDArray[np.uint8]:
    """Segment the part: Otsu's threshold, then the largest connected region.

    Returns a mask (height, width) uint8, 255 on the part, all 0 if nothing stands out.
    """
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_BGR2GRAY), (5, 5), 0)
    kind = cv2.THRESH_BINARY if bright_part else cv2.THRESH_BINARY_INV
    _, mask = cv2.threshold(grey, 0, 255, kind | cv2.THRESH_OTSU)
    count, labels, stats, _ = cv2.connectedComponentsWithStats(mask, connectivity=8)
    if count < 2:
        return np.zeros(grey.shape, np.uint8)
    largest = 1 + int(np.argmax(stats[1:, cv2.CC_STAT_AREA]))
    part: NDArray[np.uint8] = np.where(labels == largest, 255, 0).astype(np.uint8)
    return part


def find_pose(mask: NDArray[np.uint8]) -> Pose:
    """Measure the pose of a mask by its moments. Raises NotRegistered if it is nearly empty."""
    rows, columns = np.nonzero(mask)
    if rows.size < 16:
        raise NotRegistered("no part stands out from the background; check light and position")
    points = np.column_stack((columns, rows)).astype(np.float64)
    centre = points.mean(axis=0)
    centred = points - centre
    spreads, vectors = np.linalg.eigh(centred.T @ centred)
    axis = vectors[:, 1]
    if float(((centred @ axis) ** 3).sum()) < 0:  # The third moment tells the heavy end from the light one.
        axis = -axis
    return Pose(
        centre=(float(centre[0]), float(centre[1])),
        axis=(float(axis[0]), float(axis[1])),
        along=_span(centred @ axis),
        across=_span(centred @ np.array([-axis[1], axis[0]])),
        area_px=rows.size,
        elongation=float(np.sqrt(spreads[1] / max(spreads[0], 1e-9))),
    )


def _span(values: NDArray[np.float64]) -> tuple[float, float]:
    return float(values.min()) - 0.5, float(values.max()) + 0.5


def shrink_to_working_size(image: Image) -> tuple[Image, float]:
    """Return the image with sides of at most _WORK_PX, and the factor from its pixels to those of `image`."""
    factor = max(1.0, max(image.shape[:2]) / _WORK_PX)
    if factor == 1.0:
        return image, 1.0
    size = (round(image.shape[1] / factor), round(image.shape[0] / factor))
    # Averaging a large frame by a fraction takes many times as long as by a whole number first.
    coarse, _ = shrink_whole(image, (max(image.shape[:2]) / _COARSE_PX,) * 2)
    small: Image = cv2.resize(coarse, size, interpolation=cv2.INTER_AREA)  # type: ignore[assignment]
    return small, factor


def find_placement(image: Image, registration: Registration, shape: tuple[int, int]) -> NDArray[np.float64]:
    """Find the part and return the 2x3 affine matrix from pixels of its crop to pixels of `image`.

    `shape` is (height, width) of the crop. Raises NotRegistered if no part is found, or if its area lies
    outside the range of the good images.
    """
    small, factor = shrink_to_working_size(image)
    pose = find_pose(foreground(small, registration.bright_part))
    area = pose.area_px / (small.shape[0] * small.shape[1])
    if not registration.area_min <= area <= registration.area_max:
        raise NotRegistered(
            f"the part covers {area:.1%} of the picture instead of {registration.area_min:.1%} "
            f"to {registration.area_max:.1%}; check position and light"
        )
    return pose_matrix(pose, factor, max(image.shape[:2]), registration, shape)


def pose_matrix(
    pose: Pose, factor: float, side_px: int, registration: Registration, shape: tuple[int, int]
) -> NDArray[np.float64]:
    """Return the 2x3 matrix from crop pixels to image pixels for a pose measured at 1/`factor` of the size.

    `side_px` is the longer side of the image, `shape` (height, width) of the crop.
    """
    height, width = shape
    columns = np.array(pose.axis if registration.turn else (1.0, 0.0))
    rows = np.array([-columns[1], columns[0]])  # Rotated by 90 degrees: a rotation, no reflection.
    across, down = registration.extent
    column_step = columns * (across * side_px / width)
    row_step = rows * (down * side_px / height)
    centre = (np.array(pose.centre) + 0.5) * factor - 0.5
    centre = centre + (columns * registration.ahead + rows * registration.aside) * side_px
    origin = centre - column_step * (width - 1) / 2 - row_step * (height - 1) / 2
    matrix: NDArray[np.float64] = np.column_stack((column_step, row_step, origin))
    return matrix
