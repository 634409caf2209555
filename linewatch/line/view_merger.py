"""Merge the inspections of a part's views into one; the worst view decides."""

import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from typing import Generic, TypeVar

from linewatch.domain import Exposure, Inspection, Result, admit

T = TypeVar("T")


# A defect that was found says more than an image that could not be judged; both are rejects.
_WORST_FIRST = (Result.FAIL, Result.ERROR, Result.UNSURE, Result.PASS)


class ViewMerger(Generic[T]):
    """Merge the inspections that `inspect` yields for the views of a part; the worst one decides."""

    def __init__(self, inspect: Callable[[T], Iterable[Inspection]]) -> None:
        self._inspect = inspect
        self._seen: list[Inspection] = []

    def inspect(self, view: T) -> Iterator[Inspection]:
        """Yield the part's inspection after its last view; views arrive in order."""
        for inspection in self._inspect(view):
            self._seen.append(inspection)
            assert len({seen.frame.seq for seen in self._seen}) == 1, "views of two parts"
            if len(self._seen) == inspection.frame.views:
                yield _merged(self._seen)
                self._seen = []


def _merged(seen: list[Inspection]) -> Inspection:
    if len(seen) == 1:
        return seen[0]
    first = seen[0].frame
    worst = min(
        seen, key=lambda view: (_WORST_FIRST.index(view.result), -(view.scored.raw if view.scored else 0.0))
    )
    judged_by = frozenset((view.product, view.model) for view in seen)
    part = admit(worst, Exposure(first.captured_ns, judged_by=judged_by), time.monotonic_ns())
    return replace(
        part,
        scored=worst.scored if part is worst else None,
        # The part's time runs from its first exposure.
        frame=replace(worst.frame, captured_ns=first.captured_ns, captured_ms=first.captured_ms),
        age_ms=max(view.age_ms for view in seen),
        others=tuple(view.frame for view in seen if view.frame.view != worst.frame.view),
    )
