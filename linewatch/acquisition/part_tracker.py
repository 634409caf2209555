"""Which parts are in the picture and where: followed along the belt, each one called once."""

import statistics
from collections import deque
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

Plane = NDArray[np.float32]

Run = tuple[float, float]
"""First column of something that is not belt, and the first one after it."""

_FULL = 0.04  # Share of a column that must not be belt.
_SPECK = 0.25  # What is shorter than this share of a part is none.
_LENGTH_PX = 12  # And no part is shorter than this.
_BORDER_PX = 3  # Of a part that comes in or goes out, so much must be seen.
_LENGTHS = 63  # So many lengths are remembered; their median is a part's.
_REACH = 0.6  # The belt moves by less than this share of the picture from frame to frame.
_STILL_PX = 0.4  # The belt stands when it moves less than this.
_ROWS = 32  # Enough to see how far the belt moved.
_LEARN = 0.1  # Share of each new part in what a part looks like.
_SEARCH, _ALIKE = 0.3, 0.7  # It is looked for so far to each side, and must be so much alike.
_LOST_FRAMES = 3  # A part that was not seen for so long has gone.


@dataclass(slots=True, eq=False)
class Part:
    """One part: where it begins and ends, in columns, also outside of the picture."""

    start: float
    end: float
    called: bool = False  # It had its exposure.
    missed: int = 0  # Frames since it was last seen.
    measured: bool = False  # It was seen whole.

    @property
    def middle(self) -> float:
        """Where its middle is."""
        return (self.start + self.end) / 2

    @property
    def length(self) -> float:
        """How long it is."""
        return self.end - self.start

    def move(self, columns: float) -> None:
        """Go with the belt."""
        self.start += columns
        self.end += columns


class PartTracker:
    """Follows parts through pictures of `width` columns; the belt runs along the rows.

    How long a part is, is learnt from those that come alone; parts that touch are told apart by it.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._lengths: deque[float] = deque(maxlen=_LENGTHS)
        self._before: Plane | None = None
        self._coarse: Plane = np.zeros((1, width), np.float32)  # The picture in hand, with few rows.
        self._likeness: Plane | None = None  # What a part looks like in it, on average.
        self._runs: list[Run] = []
        self.parts: list[Part] = []
        self.shift = 0.0  # How far the belt moved since the frame before, in columns.

    @property
    def still(self) -> bool:
        """Whether the belt stands."""
        return abs(self.shift) < _STILL_PX

    @property
    def usual(self) -> float:
        """How long a part is, in columns; 0.0 as long as none was seen whole."""
        return statistics.median_low(self._lengths) if self._lengths else 0.0

    @property
    def came_along(self) -> bool | None:
        """Whether something that is seen reaches the border, where parts come in; None if nothing is seen."""
        return any(self._is_cut(run) for run in self._runs) if self._runs else None

    def follow(self, difference: Plane, part: NDArray[np.bool_]) -> None:
        """Take in one frame, as `BeltBackground.compare` gives it."""
        self._runs = self._find(part)
        coarse = cv2.resize(
            difference, (self._width, min(_ROWS, len(difference))), interpolation=cv2.INTER_AREA
        )
        self._coarse = np.asarray(coarse, np.float32)
        slopes = np.diff(self._coarse, axis=1, append=0)
        self.shift = 0.0 if self._before is None else _shift(self._before, slopes, self.shift)
        self._before = slopes
        for known in self.parts:
            known.move(self.shift)
            known.missed += 1
        for run in self._runs:
            self._match(run)
        self.parts = [known for known in self.parts if self._stays(known)]
        self.parts.sort(key=lambda known: known.middle)

    def _find(self, part: NDArray[np.bool_]) -> list[Run]:
        """Return where parts are, from left to right."""
        full = np.concatenate(([False], part.mean(axis=0) >= _FULL, [False]))
        edges = np.flatnonzero(full[1:] != full[:-1])
        usual = self.usual
        joined: list[Run] = []
        for start, end in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            # Two pieces that are together no longer than a part are pieces of one.
            if joined and start - joined[-1][1] <= 0.2 * usual and end - joined[-1][0] <= 1.2 * usual:
                joined[-1] = (joined[-1][0], end)
            else:
                joined.append((start, end))
        least = max(_LENGTH_PX, _SPECK * usual)
        return [run for run in joined if run[1] - run[0] >= (_BORDER_PX if self._is_cut(run) else least)]

    def _is_cut(self, run: Run) -> bool:
        return run[0] == 0 or run[1] == self._width

    def _match(self, run: Run) -> None:
        """Find out which parts a run is made of."""
        start, end = run
        cut = start == 0, end == self._width
        inside = [
            known for known in self.parts if _overlap(known, run) > 0.3 * min(known.length, end - start)
        ]
        inside.sort(key=lambda known: known.middle)
        if not any(cut):
            self._measure(run, inside)
        if not inside or (not any(cut) and len(inside) != self._count(run)):
            inside = self._divide(run, inside, cut)
        elif self.usual:
            self._align(run, inside, cut)
            if all(cut):
                for known in inside:
                    self._recognize(known)
            self._extend(run, inside, cut)
        else:  # Nothing was seen whole yet: it is taken for one part.
            inside[0].start, inside[-1].end = start, end
        for known in inside:
            known.missed = 0

    def _measure(self, run: Run, inside: list[Part]) -> None:
        """Learn from a run that is seen whole, once, how long a part is."""
        if not any(known.measured for known in inside):
            self._lengths.append(run[1] - run[0])
            if self._count(run) == 1:
                self._remember((run[0] + run[1]) / 2)

    def _remember(self, middle: float) -> None:
        """Learn what a part looks like from one that is alone and seen whole."""
        width = int(self.usual)
        first = round(middle - width / 2)
        if first < 0 or first + width > self._width:
            return
        seen = self._coarse[:, first : first + width]
        if self._likeness is None or self._likeness.shape != seen.shape:
            self._likeness = seen.copy()
        else:
            self._likeness += _LEARN * (seen - self._likeness)

    def _recognize(self, part: Part) -> None:
        """Correct where a part is that has neighbours on both sides, so that no end of it can be seen."""
        if self._likeness is None or part.start < 0 or part.end > self._width:
            return
        width = self._likeness.shape[1]
        thought = round(part.middle - width / 2)
        first = max(0, thought - int(_SEARCH * width))
        last = min(self._width, thought + width + int(_SEARCH * width))
        if last - first <= width:
            return
        match = cv2.matchTemplate(self._coarse[:, first:last], self._likeness, cv2.TM_CCOEFF_NORMED)[0]
        best = int(np.argmax(match))
        if match[best] > _ALIKE:
            part.move(first + best + width / 2 - part.middle)

    def _count(self, run: Run) -> int:
        return max(1, round((run[1] - run[0]) / self.usual)) if self.usual else 1

    def _divide(self, run: Run, before: list[Part], cut: tuple[bool, bool]) -> list[Part]:
        """Make parts of a run, in place of those that were taken for it before."""
        start, end = run
        usual = self.usual or end - start
        if any(cut):
            count = max(1, _more(end - start, usual, True))
            first = end - usual * count if cut[0] else start  # From the end that can be seen.
            pitch = usual
        else:
            count = self._count(run)
            first, pitch = start, (end - start) / count
        parts = [
            Part(first + pitch * k, first + pitch * (k + 1), measured=not any(cut)) for k in range(count)
        ]
        rivals = [known for part in parts for known in self._rivals(part)]
        for known in (*before, *rivals):
            nearest = min(parts, key=lambda part: abs(part.middle - known.middle))
            nearest.called |= known.called
        self.parts = [known for known in self.parts if known not in before and known not in rivals] + parts
        return parts

    def _rivals(self, part: Part) -> list[Part]:
        """Return the known parts that take so much of the same place that they are this one."""
        return [known for known in self.parts if _overlap(known, (part.start, part.end)) > 0.5 * part.length]

    def _align(self, run: Run, inside: list[Part], cut: tuple[bool, bool]) -> None:
        """Correct where the parts of a run are by those of its ends that can be seen."""
        first, last = inside[0].start, inside[-1].end
        errors = [
            seen - thought
            for seen, thought, hidden in zip(run, (first, last), cut, strict=True)
            if not hidden and abs(seen - thought) < 0.4 * self.usual
        ]
        if not errors:
            return
        left, right = errors[0], errors[-1]
        for known in inside:
            known.start += left + (right - left) * (known.start - first) / (last - first)
            known.end += left + (right - left) * (known.end - first) / (last - first)
            known.measured = known.measured or not any(cut)

    def _extend(self, run: Run, inside: list[Part], cut: tuple[bool, bool]) -> None:
        """Add the parts of a run that come before its first and after its last known one."""
        start, end = run
        usual = self.usual
        first, last = inside[0].start, inside[-1].end
        more = [
            *(
                Part(first - usual * (k + 1), first - usual * k)
                for k in range(_more(first - start, usual, cut[0]))
            ),
            *(
                Part(last + usual * k, last + usual * (k + 1))
                for k in range(_more(end - last, usual, cut[1]))
            ),
        ]
        for part in more:
            rivals = self._rivals(part)
            if rivals:  # It was known, but seen too little of to be matched.
                rivals[0].move(part.start - rivals[0].start)
                rivals[0].missed = 0
            else:
                self.parts.append(part)

    def _stays(self, part: Part) -> bool:
        """Whether a part is still worth following: in sight, or just outside and may come back."""
        margin = max(part.length, self.usual)
        if part.end < -margin or part.start > self._width + margin:
            return False
        in_sight = min(part.end, self._width) - max(part.start, 0.0)
        return part.missed < _LOST_FRAMES or in_sight < 0.3 * part.length


def _more(columns: float, usual: float, cut: bool) -> int:
    """Return how many more parts so many columns are: one that is coming in shows only its beginning."""
    return max(0, int(columns / usual + (0.7 if cut else 0.5)))


def _overlap(part: Part, run: Run) -> float:
    return min(part.end, run[1]) - max(part.start, run[0])


def _shift(before: Plane, now: Plane, guess: float) -> float:
    """Return by how many columns what is in `now` has moved since `before`; 0.0 when nothing is seen.

    Both are (height, width), float32, with mean 0 along the rows: what is compared are edges.
    """
    width = now.shape[1]
    spectrum = np.conj(np.fft.rfft(before, 2 * width, axis=1)) * np.fft.rfft(now, 2 * width, axis=1)
    match = np.fft.irfft(spectrum.sum(axis=0), 2 * width)
    reach = int(_REACH * width)
    columns = np.arange(-reach, reach + 1)
    likely = match[columns] * (1.0 - 0.2 * np.abs(columns - guess) / width)
    best = int(np.argmax(likely))
    if likely[best] <= 0 or not 0 < best < len(columns) - 1:
        return 0.0
    low, high, top = likely[best - 1], likely[best + 1], likely[best]
    bend = low - 2 * top + high
    return float(columns[best] + (0.5 * (low - high) / bend if bend < 0 else 0.0))
