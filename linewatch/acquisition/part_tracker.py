"""Track parts along the belt: which ones are in the image, and where."""

import statistics
from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

Run = tuple[float, float]
"""First column of a stretch of foreground, and the first column after it."""

_FOREGROUND = 0.04  # A column counts as foreground from this share of its pixels on.
_SPECK = 0.25  # Runs shorter than this share of a part are ignored,
_LENGTH_PX = 12  # and runs shorter than this,
_BORDER_PX = 3  # or than this at the border, where a part enters or leaves.
_LENGTHS = 63  # The part length is the median of the last so many.
_REACH = 0.6  # Largest motion between two frames, as a share of the image's width.
_STILL_PX = 0.4  # The belt stands if it moves less than this.
_ROWS = 32  # Enough rows to measure the belt's motion.
_TEMPLATE_RATE = 0.1  # Weight of a new part in the template.
_SEARCH, _MATCH = 0.3, 0.7  # Range to each side, in part lengths, and least correlation of a template match.
_LOST_FRAMES = 3  # A part unseen for so many frames has gone.


@dataclass(slots=True, eq=False)
class Part:
    """One part, from `start` to `end` in columns, which may lie outside the image."""

    start: float
    end: float
    exposed: bool = False
    missed: int = 0  # Frames since it was last seen.
    measured: bool = False  # Its length was measured while all of it was in the image.

    @property
    def middle(self) -> float:
        """Its middle, in columns."""
        return (self.start + self.end) / 2

    @property
    def length(self) -> float:
        """Its length, in columns."""
        return self.end - self.start

    def move(self, columns: float) -> None:
        """Move the part along the belt."""
        self.start += columns
        self.end += columns


class PartTracker:
    """Tracks parts through images of `width` columns; the belt runs along the rows.

    The length of a part is learnt from parts that come alone; it separates parts that touch.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._lengths: deque[float] = deque(maxlen=_LENGTHS)
        self._edges: Plane | None = None  # Horizontal gradient of the last image.
        self._coarse: Plane = np.zeros((1, width), np.float32)  # The last image, with few rows.
        self._template: Plane | None = None  # The average part in it.
        self._runs: list[Run] = []
        self.parts: list[Part] = []
        self.shift = 0.0  # Motion of the belt since the last frame, in columns.

    @property
    def still(self) -> bool:
        """Whether the belt stands."""
        return abs(self.shift) < _STILL_PX

    @property
    def part_length(self) -> float:
        """Length of a part, in columns; 0.0 before the first was measured."""
        return statistics.median_low(self._lengths) if self._lengths else 0.0

    @property
    def enters_at_border(self) -> bool | None:
        """Whether some foreground touches the border, as an entering part does; None without foreground."""
        return any(self._is_cut(run) for run in self._runs) if self._runs else None

    def update(self, difference: Plane, foreground: NDArray[np.bool_]) -> None:
        """Update motion and parts from one frame: the result of `BeltBackground.compare`."""
        self._runs = self._find_runs(foreground)
        coarse = cv2.resize(
            difference, (self._width, min(_ROWS, len(difference))), interpolation=cv2.INTER_AREA
        )
        self._coarse = np.asarray(coarse, np.float32)
        edges = np.diff(self._coarse, axis=1, append=0)
        self.shift = 0.0 if self._edges is None else _measure_shift(self._edges, edges, self.shift)
        self._edges = edges
        for part in self.parts:
            part.move(self.shift)
            part.missed += 1
        for run in self._runs:
            self._match(run)
        self.parts = [part for part in self.parts if self._is_tracked(part)]
        self.parts.sort(key=lambda part: part.middle)

    def _find_runs(self, foreground: NDArray[np.bool_]) -> list[Run]:
        """Return the stretches of foreground, from left to right."""
        full = np.concatenate(([False], foreground.mean(axis=0) >= _FOREGROUND, [False]))
        bounds = np.flatnonzero(full[1:] != full[:-1])
        length = self.part_length
        joined: list[Run] = []
        for start, end in zip(bounds[::2].tolist(), bounds[1::2].tolist(), strict=True):
            # Two pieces that together are no longer than a part are the same part.
            if joined and start - joined[-1][1] <= 0.2 * length and end - joined[-1][0] <= 1.2 * length:
                joined[-1] = (joined[-1][0], end)
            else:
                joined.append((start, end))
        least = max(_LENGTH_PX, _SPECK * length)
        return [run for run in joined if run[1] - run[0] >= (_BORDER_PX if self._is_cut(run) else least)]

    def _is_cut(self, run: Run) -> bool:
        return run[0] == 0 or run[1] == self._width

    def _match(self, run: Run) -> None:
        """Assign a run to tracked parts; correct, add or replace them."""
        start, end = run
        cut = start == 0, end == self._width
        inside = [
            known for known in self.parts if _overlap(known, run) > 0.3 * min(known.length, end - start)
        ]
        inside.sort(key=lambda known: known.middle)
        if not any(cut):
            self._learn_length(run, inside)
        if not inside or (not any(cut) and len(inside) != self._count(run)):
            inside = self._divide(run, inside, cut)
        elif self.part_length:
            self._align(run, inside, cut)
            if all(cut):
                for known in inside:
                    self._locate(known)
            self._extend(run, inside, cut)
        else:  # No part has been measured yet: the run counts as one.
            inside[0].start, inside[-1].end = start, end
        for known in inside:
            known.missed = 0

    def _learn_length(self, run: Run, inside: list[Part]) -> None:
        """Learn the length of a part from a run that lies within the image, once per part."""
        if not any(known.measured for known in inside):
            self._lengths.append(run[1] - run[0])
            if self._count(run) == 1:
                self._update_template((run[0] + run[1]) / 2)

    def _update_template(self, middle: float) -> None:
        """Average a part that is alone and within the image into the template."""
        width = int(self.part_length)
        first = round(middle - width / 2)
        if first < 0 or first + width > self._width:
            return
        view = self._coarse[:, first : first + width]
        if self._template is None or self._template.shape != view.shape:
            self._template = view.copy()
        else:
            self._template += _TEMPLATE_RATE * (view - self._template)

    def _locate(self, part: Part) -> None:
        """Correct the position of a part that touches neighbours on both sides, by template matching."""
        if self._template is None or part.start < 0 or part.end > self._width:
            return
        width = self._template.shape[1]
        expected = round(part.middle - width / 2)
        first = max(0, expected - int(_SEARCH * width))
        last = min(self._width, expected + width + int(_SEARCH * width))
        if last - first <= width:
            return
        match = cv2.matchTemplate(self._coarse[:, first:last], self._template, cv2.TM_CCOEFF_NORMED)[0]
        best = int(np.argmax(match))
        if match[best] > _MATCH:
            part.move(first + best + width / 2 - part.middle)

    def _count(self, run: Run) -> int:
        return max(1, round((run[1] - run[0]) / self.part_length)) if self.part_length else 1

    def _divide(self, run: Run, before: list[Part], cut: tuple[bool, bool]) -> list[Part]:
        """Divide a run into parts of equal length, in place of the parts assigned to it before."""
        start, end = run
        length = self.part_length or end - start
        if any(cut):
            count = max(1, _count_parts(end - start, length, True))
            first = end - length * count if cut[0] else start  # Counted from the end within the image.
            pitch = length
        else:
            count = self._count(run)
            first, pitch = start, (end - start) / count
        parts = [
            Part(first + pitch * k, first + pitch * (k + 1), measured=not any(cut)) for k in range(count)
        ]
        duplicates = [known for part in parts for known in self._overlapping(part)]
        for known in (*before, *duplicates):
            nearest = min(parts, key=lambda part: abs(part.middle - known.middle))
            nearest.exposed |= known.exposed
        self.parts = [
            known for known in self.parts if known not in before and known not in duplicates
        ] + parts
        return parts

    def _overlapping(self, part: Part) -> list[Part]:
        """Return the tracked parts that overlap this one so far that they must be the same."""
        return [known for known in self.parts if _overlap(known, (part.start, part.end)) > 0.5 * part.length]

    def _align(self, run: Run, inside: list[Part], cut: tuple[bool, bool]) -> None:
        """Correct the positions of a run's parts by those of its ends that lie within the image."""
        first, last = inside[0].start, inside[-1].end
        errors = [
            measured - expected
            for measured, expected, hidden in zip(run, (first, last), cut, strict=True)
            if not hidden and abs(measured - expected) < 0.4 * self.part_length
        ]
        if not errors:
            return
        left, right = errors[0], errors[-1]
        for known in inside:
            known.start += left + (right - left) * (known.start - first) / (last - first)
            known.end += left + (right - left) * (known.end - first) / (last - first)
            known.measured = known.measured or not any(cut)

    def _extend(self, run: Run, inside: list[Part], cut: tuple[bool, bool]) -> None:
        """Add the parts of a run before its first and after its last tracked part."""
        start, end = run
        length = self.part_length
        first, last = inside[0].start, inside[-1].end
        more = [
            *(
                Part(first - length * (k + 1), first - length * k)
                for k in range(_count_parts(first - start, length, cut[0]))
            ),
            *(
                Part(last + length * k, last + length * (k + 1))
                for k in range(_count_parts(end - last, length, cut[1]))
            ),
        ]
        for part in more:
            duplicates = self._overlapping(part)
            if duplicates:  # Tracked already, but too little of it was visible to match.
                duplicates[0].move(part.start - duplicates[0].start)
                duplicates[0].missed = 0
            else:
                self.parts.append(part)

    def _is_tracked(self, part: Part) -> bool:
        """Whether to keep a part: it is in the image, or just outside and may come back."""
        margin = max(part.length, self.part_length)
        if part.end < -margin or part.start > self._width + margin:
            return False
        in_sight = min(part.end, self._width) - max(part.start, 0.0)
        return part.missed < _LOST_FRAMES or in_sight < 0.3 * part.length


def _count_parts(columns: float, length: float, cut: bool) -> int:
    """Return how many parts fit into so many columns; the last one may be `cut` off by the border."""
    return max(0, int(columns / length + (0.7 if cut else 0.5)))


def _overlap(part: Part, run: Run) -> float:
    return min(part.end, run[1]) - max(part.start, run[0])


def _measure_shift(before: Plane, now: Plane, guess: float) -> float:
    """Return by how many columns the edges in `now` have moved since `before`; 0.0 if there are none.

    Both are (height, width), float32, with mean 0 along the rows. Cross-correlation along the rows, with a
    preference for shifts near `guess` and a parabola through the peak for subpixel precision.
    """
    width = now.shape[1]
    spectrum = np.conj(np.fft.rfft(before, 2 * width, axis=1)) * np.fft.rfft(now, 2 * width, axis=1)
    match = np.fft.irfft(spectrum.sum(axis=0), 2 * width)
    reach = int(_REACH * width)
    columns = np.arange(-reach, reach + 1)
    weighted = match[columns] * (1.0 - 0.2 * np.abs(columns - guess) / width)
    best = int(np.argmax(weighted))
    if weighted[best] <= 0 or not 0 < best < len(columns) - 1:
        return 0.0
    low, high, top = weighted[best - 1], weighted[best + 1], weighted[best]
    bend = low - 2 * top + high
    return float(columns[best] + (0.5 * (low - high) / bend if bend < 0 else 0.0))
