"""The answer of a recall, as text, JSON and CSV. Times are local in the text, UTC elsewhere."""

import csv
import io
from dataclasses import asdict, dataclass
from datetime import UTC, datetime, tzinfo
from typing import Any

from linewatch.domain import Result
from linewatch.recall.similarity import View
from linewatch.text_files import harmless_cell

_VIEWS = {
    View.DEFECT: "the look of their most unusual place",
    View.PLACE: "the place where they are unusual",
    View.WHOLE: "the part as a whole",
}
_COLUMNS = (
    "captured",
    "boot",
    "seq",
    "part",
    "similarity",
    "in_window",
    "result",
    "raw",
    "threshold",
    "model",
    "again",
    "again_score",
    "image",
)


@dataclass(frozen=True, slots=True)
class SimilarPart:
    """One part of the journal."""

    boot: int
    seq: int
    captured_ms: int
    similarity: float  # -1 to 1; comparable within one model.
    result: Result
    raw: float
    threshold: float
    in_window: bool
    part: str = ""
    model: str = ""
    image: str = ""  # Path below the evidence folder; "" if it is not kept.
    again: Result | None = None  # By the other model; None without an image.
    again_score: int | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """A time in which similar parts cluster."""

    first_ms: int
    last_ms: int
    similar: int
    parts: int  # All that were made in it.
    elsewhere: int  # Parts as similar as these, outside.
    p: float  # Upper bound of the probability that chance shows such a window.


@dataclass(frozen=True, slots=True)
class Incomparable:
    """Parts that could not be compared."""

    model: str
    parts: int
    first_day: str
    last_day: str
    why: str


@dataclass(frozen=True, slots=True)
class Answer:
    """Similar parts, the most similar first, and when they were made."""

    product: str
    view: View  # In which the parts are similar.
    scanned: int
    windows: tuple[Window, ...]
    parts: tuple[SimilarPart, ...]
    hours: tuple[tuple[int, int, int], ...]  # Start (UTC ms), similar parts, all parts.
    models: tuple[str, ...] = ()  # That the parts were compared with.
    incomparable: tuple[Incomparable, ...] = ()
    model: str = ""  # That judged the parts again.

    def as_dict(self) -> dict[str, Any]:
        """Return everything as JSON values; times are UTC, ISO 8601."""
        return {
            "product": self.product,
            "compared": self.scanned,
            "similar_in": self.view.value,
            "models": list(self.models),
            "windows": [
                asdict(window) | {"first": _utc(window.first_ms), "last": _utc(window.last_ms)}
                for window in self.windows
            ],
            "parts": [asdict(part) | {"captured": _utc(part.captured_ms)} for part in self.parts],
            "hours": [
                {"start": _utc(start), "start_ms": start, "similar": n, "parts": total}
                for start, n, total in self.hours
            ],
            "incomparable": [asdict(gap) for gap in self.incomparable],
            "judged_again_by": self.model,
        }

    def csv(self) -> str:
        """Return the parts as CSV with a header line; times are UTC."""
        text = io.StringIO()
        writer = csv.DictWriter(text, _COLUMNS, extrasaction="ignore")
        writer.writeheader()
        for part in self.as_dict()["parts"]:
            writer.writerow(
                {key: "" if value is None else harmless_cell(value) for key, value in part.items()}
            )
        return text.getvalue()

    def text(self, zone: tzinfo | None = None) -> str:
        """Return the answer for people, in the local time zone unless another is given."""
        return "\n".join([*self.sentences(zone), "", *self._table(zone)])

    def sentences(self, zone: tzinfo | None = None) -> list[str]:
        """Return what the windows are, and what was and was not compared."""
        lines = [self._window(window, zone) for window in self.windows] or [
            "similar parts do not cluster at any time: either the defect is as old as the signatures, or no "
            "other part has it; compare the parts below"
        ]
        lines.append(f"similar in {_VIEWS[self.view]}; {self.scanned:,} parts of {self.product} compared")
        for gap in self.incomparable:
            days = gap.first_day if gap.first_day == gap.last_day else f"{gap.first_day} to {gap.last_day}"
            lines.append(f"not compared: {gap.parts:,} parts of model {gap.model} ({days}): {gap.why}")
        if self.model:
            again = [part for part in self.parts if part.again is not None]
            passed = sum(part.again is Result.PASS for part in again)
            lines.append(
                f"{self.model} rejects {len(again) - passed} of {len(again)} parts whose images are kept"
            )
        return lines

    def _window(self, window: Window, zone: tzinfo | None) -> str:
        first, last = _local(window.first_ms, zone), _local(window.last_ms, zone)
        same_day = first.date() == last.date()
        end = f"{last:%H:%M:%S}" if same_day else f"{last:%Y-%m-%d %H:%M:%S}"
        return (
            f"{window.similar} similar parts between {first:%Y-%m-%d %H:%M:%S} and {end} {last:%Z}, "
            f"of {window.parts:,} made then; {window.elsewhere} as similar at other times"
        )

    def _table(self, zone: tzinfo | None) -> list[str]:
        again = "  again" if self.model else ""
        lines = [f"{'similar':>7}  {'time':19}  {'boot-seq':>12}  {'result':6}  {'score':>5}{again}  part"]
        for part in self.parts:
            at = f"{_local(part.captured_ms, zone):%Y-%m-%d %H:%M:%S}"
            score = round(1000 * part.raw / part.threshold) if part.threshold else 0
            verdict = f"  {part.again or '-':5}" if self.model else ""
            mark = "*" if part.in_window else " "
            lines.append(
                f"{part.similarity:6.3f}{mark}  {at}  {f'{part.boot}-{part.seq}':>12}  "
                f"{part.result:6}  {score:5}{verdict}  {printable(part.part)}"
            )
        return lines


def printable(text: str) -> str:
    """Return a part's name with its control characters spelt out."""
    return "".join(letter if letter.isprintable() else f"\\x{ord(letter):02x}" for letter in text)


def _local(utc_ms: int, zone: tzinfo | None) -> datetime:
    return datetime.fromtimestamp(utc_ms / 1000, UTC).astimezone(zone)


def _utc(utc_ms: int) -> str:
    return (
        datetime.fromtimestamp(utc_ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    )
