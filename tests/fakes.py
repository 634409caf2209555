"""Stand-ins at the seams of the design: scripted, countable, and failing on demand."""

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from linewatch.domain import Frame, Image, Reason, Result, State, Verdict
from linewatch.errors import CameraLost, LinewatchError, StorageFull
from linewatch.recall.answer import Answer, Incomparable, SimilarPart, Window
from linewatch.recall.similarity import View
from linewatch.vision.image_io import decode
from linewatch.web.backend import (
    Actual,
    Counted,
    Export,
    ExportForm,
    FoundRows,
    Hour,
    ImageStatus,
    InspectResult,
    LiveImage,
    ProductInfo,
    Query,
    RecallQuery,
    Review,
    Row,
    StorageForecast,
)
from linewatch.web.records.interface import Act, ActsWanted, AuditState, Head, PromiseState, RowForm


def picture(level: int = 100) -> Image:
    """Return a small grey picture."""
    return np.full((32, 32, 3), level, np.uint8)


def frame(level: int = 100, **facts: object) -> Frame:
    """Return a frame captured now."""
    shown = Frame(picture(level), time.monotonic_ns(), time.time_ns() // 1_000_000)
    return Frame(**{name: getattr(shown, name) for name in Frame.__slots__} | facts)


class ScriptedSource:
    """Gives what its script says: frames, "lost", or what a callable returns; then it ends."""

    name = "script"

    def __init__(self, script: Iterator[Frame | str | Callable[[], Frame]], *, live: bool = False) -> None:
        self.live = live
        self.script = script
        self.opened = 0
        self.read_count = 0
        self.on_open: Callable[[], object] = lambda: None
        self.on_close: Callable[[], object] = lambda: None

    def __enter__(self) -> Self:
        self.opened += 1
        self.on_open()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.on_close()

    def read(self) -> Frame | None:
        """Do the next thing of the script."""
        step = next(self.script, None)
        if isinstance(step, str):
            raise CameraLost("script", "unplugged")
        shown = step() if callable(step) else step
        self.read_count += 1
        return shown


class FakeLedger:
    """The journal's writer, in memory; while it hangs, the rows queued are not committed."""

    def __init__(self) -> None:
        self.rows: dict[int, Verdict] = {}
        self.waits_s: list[float] = []
        self.released = 0
        self.hangs = False
        self.on_wait: Callable[[float], None] = lambda _timeout_s: None
        self._queued: list[Verdict] = []

    def append(self, verdict: Verdict) -> None:
        """Queue one row."""
        assert verdict.seq not in self.rows
        self._queued.append(verdict)

    def settled(self, timeout_s: float) -> bool:
        """Commit what is queued, unless the disk hangs."""
        self.waits_s.append(timeout_s)
        self.on_wait(timeout_s)
        if not self.hangs:
            self.rows |= {queued.seq: queued for queued in self._queued}
            self._queued.clear()
        return not self._queued

    def amend(self, verdict: Verdict) -> None:
        """Replace the row queued last, which was not released yet."""
        assert verdict.seq > self.released
        self._queued.append(verdict)

    def release(self, boot: int, seq: int) -> None:
        """Let history have it."""
        self.released = seq


class FakeWire:
    """A live link in memory; `gone` loses what is sent, as the real one does."""

    def __init__(self) -> None:
        self.sent: list[Verdict] = []
        self.gone = False

    def publish_verdict(self, verdict: Verdict) -> bool:
        """Send or lose."""
        if not self.gone:
            self.sent.append(verdict)
        return not self.gone


class FakePictures:
    """An evidence folder in memory."""

    def __init__(self) -> None:
        self.kept: list[str] = []
        self.shapes: dict[str, tuple[int, ...]] = {}
        self.waits_s: list[float] = []
        self.full = False

    def frame_name(self, verdict: Verdict, nbytes: int = 0) -> str:
        """Keep every frame."""
        return f"{verdict.seq}.png"

    def heatmap_name(self, verdict: Verdict) -> str:
        """Keep every heatmap."""
        return f"{verdict.seq}.jpg"

    def offer(self, result: Result, frames: Sequence[tuple[str, Image]]) -> None:
        """Keep frames at once; a full disk loses them."""
        if not self.full:
            for name, image in frames:
                self.write(name, image)

    def write(self, name: str, image: Image, timeout_s: float = 0.0) -> None:
        """Keep one picture."""
        self.waits_s.append(timeout_s)
        if self.full:
            raise StorageFull("evidence", "no room")
        self.kept.append(name)
        self.shapes[name] = image.shape


def verdict(seq: int = 1, result: Result = Result.PASS, **facts: object) -> Verdict:
    """Return a verdict of boot 41."""
    raws = {Result.PASS: 0.8, Result.FAIL: 2.31, Result.UNSURE: 1.9, Result.ERROR: 0.0}
    reasons = {Result.FAIL: Reason.ABOVE_THRESHOLD, Result.UNSURE: Reason.NEAR_THRESHOLD}
    usual: dict[str, Any] = {
        "station": "station1",
        "boot": 41,
        "seq": seq,
        "product": "bottle",
        "product_index": 3,
        "model": "7f3a91c2",
        "result": result,
        "reason": reasons.get(result, Reason.CAMERA_LOST if result is Result.ERROR else Reason.NONE),
        "raw": raws[result],
        "threshold": 0.0 if result is Result.ERROR else 2.0,
        "captured_ms": time.time_ns() // 1_000_000,
    }
    return Verdict(**(usual | facts))


def _meets(row: Row, query: Query) -> bool:
    found = row.verdict
    return (
        (not query.results or found.result in query.results)
        and found.part.startswith(query.part)
        and (not query.product or found.product == query.product)
        and (not query.region or found.region == query.region)
        and (not query.model or found.model == query.model)
        and (not query.reviewer or (row.review is not None and row.review.who == query.reviewer))
        and (query.reason is None or found.reason is query.reason)
        and (query.since_ms is None or found.captured_ms >= query.since_ms)
        and (query.until_ms is None or found.captured_ms < query.until_ms)
        and (query.reviewed is None or (row.review is not None) is query.reviewed)
    )


class FakeRecords:
    """An audit in memory."""

    def __init__(self) -> None:
        self.rows: list[Act] = []
        self.state = AuditState(0, "0" * 64)
        self.promised: list[PromiseState] = []
        self.drawn: list[Verdict] = []
        self.known: Head | None = None

    def acts(self, wanted: ActsWanted) -> Iterator[Act]:
        """Yield the rows by one user, or of all."""
        before = wanted.before or 2**62
        yield from (act for act in self.rows if wanted.who in ("", act.who) and act.row < before)

    def act_lines(self, wanted: ActsWanted, form: RowForm) -> Iterator[str]:
        """Yield row and hash of the same rows."""
        yield from (f"{form} {act.row} {act.hash}\n" for act in self.acts(wanted))

    def audit_state(self, known: Head | None = None) -> AuditState:
        """Return the state that the test set."""
        self.known = known
        return self.state

    def promises(self) -> list[PromiseState]:
        """Return `promised`."""
        return self.promised

    def known_promises(self) -> list[PromiseState]:
        """Return `promised`."""
        return self.promised

    def reinspections(self, limit: int, after: tuple[int, int] = (0, 0), product: str = "") -> list[Verdict]:
        """Return those of `drawn` that come after one."""
        later = [one for one in self.drawn if (one.boot, one.seq) > after and product in ("", one.product)]
        return later[:limit]

    def reinspections_waiting(self) -> int:
        """Return how many are drawn."""
        return len(self.drawn)


class FakeExport:
    """An export of some bytes; `trouble` ends it early."""

    def __init__(self, *chunks: bytes, trouble: str = "") -> None:
        self.chunks = iter(chunks)
        self.trouble = trouble
        self.closed = 0

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        """Return the next chunk."""
        for chunk in self.chunks:
            return chunk
        if self.trouble:
            raise LinewatchError(self.trouble)
        raise StopIteration

    def close(self) -> None:
        """Count the calls."""
        self.closed += 1


class FakeBackend:
    """The daemon as the page sees it, in memory; `trouble` makes judging and switching fail."""

    def __init__(self, *rows: Row) -> None:
        self.rows = {(row.verdict.boot, row.verdict.seq): row for row in rows}
        self.current: dict[str, object] = {
            "v": 1, "station": "station1", "boot": 41, "state": State.READY, "reason": "",
            "product": "bottle", "product_index": 3, "model": "7f3a91c2", "last_seq": len(rows),
        }  # fmt: skip
        self.has_line = True
        self.records = FakeRecords()
        self.exports: list[Export] = []
        self.exported: list[tuple[Query, ExportForm, Path]] = []
        self.rows_read_max = 1_000_000
        self.reasons: list[str] = []
        self.is_alive = True
        self.live: LiveImage | None = None
        self.good = ""
        self.images: dict[str, ImageStatus] = {}
        self.forecast: StorageForecast | None = None
        self.hour_counts: list[Hour] = []
        self.product_infos = [
            ProductInfo("bottle", 3, "7f3a91c2", 2.0, 1.8, resident=True),
            ProductInfo("screw", 4, "", 0.0, 0.0, trouble="product 'screw' has no model; train it"),
        ]
        self.reports: dict[tuple[str, str], bytes] = {}
        self.golden: dict[tuple[str, str], bytes] = {}
        self.trouble: LinewatchError | None = None
        self.inspected: list[tuple[str, Image]] = []
        self.recalled: list[RecallQuery] = []
        self.during_image_status: Callable[[str], None] = lambda _path: None
        self.during_inspect: Callable[[], None] = lambda: None
        self.switched: list[str] = []
        self.switched_by: list[str] = []

    def state(self) -> dict[str, object]:
        """Return `current`."""
        return dict(self.current)

    def not_ready(self) -> list[str]:
        """Return `reasons`."""
        return self.reasons

    def alive(self) -> bool:
        """Return `is_alive`."""
        return self.is_alive

    def search(self, query: Query) -> FoundRows:
        """Filter `rows`; the time of one search is over after `rows_read_max` of them."""
        older = [
            row
            for key, row in sorted(self.rows.items(), reverse=True)
            if query.before is None or key < query.before
        ]
        found: list[Row] = []
        for left, row in zip(range(len(older) - 1, -1, -1), older, strict=True):
            found += [row] if _meets(row, query) else []
            if left and (len(found) == query.limit or len(older) - left == self.rows_read_max):
                return FoundRows(found, (row.verdict.boot, row.verdict.seq), row.verdict.captured_ms)
        return FoundRows(found)

    def count(self, query: Query) -> Counted:
        """Count the rows of one search by result."""
        found = self.search(replace(query, limit=len(self.rows) + 1))
        counts = {result: sum(row.verdict.result is result for row in found.rows) for result in Result}
        return Counted(counts, found.searched_to, found.searched_to_ms)

    def export(self, query: Query, form: ExportForm, evidence: Path) -> Export:
        """Return the next of `exports`, an empty one if there is none."""
        self.exported.append((query, form, evidence))
        if self.trouble:
            raise self.trouble
        return self.exports.pop(0) if self.exports else FakeExport()

    def verdict(self, boot: int, seq: int) -> Row | None:
        """Look up one row."""
        return self.rows.get((boot, seq))

    def good_image(self, verdict: Verdict) -> str:
        """Return `good`."""
        return self.good

    def hours(self, since_ms: int) -> list[Hour]:
        """Return `hour_counts`."""
        return [hour for hour in self.hour_counts if hour.start_ms >= since_ms]

    def image_status(self, path: str) -> ImageStatus:
        """Look up `images`."""
        self.during_image_status(path)
        return self.images.get(path, ImageStatus.UNKNOWN)

    def storage(self) -> StorageForecast | None:
        """Return `forecast`."""
        return self.forecast

    def live_image(self) -> LiveImage | None:
        """Return `live`."""
        return self.live

    def products(self) -> list[ProductInfo]:
        """Return `product_infos`."""
        return self.product_infos

    def report(self, product: str, version: str) -> bytes | None:
        """Look up one report."""
        return self.reports.get((product, version))

    def golden_image(self, product: str, version: str) -> bytes | None:
        """Look up one golden sample."""
        return self.golden.get((product, version))

    def inspect(self, product: str, data: bytes) -> InspectResult:
        """Fail every picture, unless there is trouble."""
        image = decode(data, "upload")
        self.during_inspect()
        if self.trouble:
            raise self.trouble
        self.inspected.append((product, image))
        return InspectResult(
            verdict(0, Result.FAIL, boot=0, product=product), b"\xff\xd8heatmap", b"\xff\xd8picture"
        )

    def recall(self, query: RecallQuery, data: bytes) -> dict[str, Any]:
        """Find part 2, unless there is trouble."""
        decode(data, "upload")
        if self.trouble:
            raise self.trouble
        self.recalled.append(query)
        found = self.rows[41, 2].verdict
        part = SimilarPart(41, 2, found.captured_ms, 0.9, found.result, 2.31, 2.0, True, "A<b>2")
        again = replace(part, again=Result.PASS, again_score=3) if query.model else part
        hour = found.captured_ms // 3_600_000 * 3_600_000
        answer = Answer(
            query.product,
            View.DEFECT,
            1_000_000,
            (Window(found.captured_ms, found.captured_ms, 1, 2, 3, 1e-9),),
            (again,),
            ((hour, 1, 2),),
            ("7f3a91c2",),
            (Incomparable("00000000", 5, "2026-11-01", "2026-11-02", "it is gone"),),
            query.model,
        )
        return answer.as_dict() | {"csv": answer.csv()}

    def review(self, boot: int, seq: int, actual: Actual, note: str, who: str = "page") -> bool:
        """Keep a review with its row."""
        row = self.rows.get((boot, seq))
        if row is not None:
            self.rows[boot, seq] = Row(row.verdict, Review(actual, note, time.time_ns() // 1_000_000, who))
        return row is not None

    def switch(self, product: str, who: str = "page") -> None:
        """Switch at once, unless there is trouble."""
        if self.trouble:
            raise self.trouble
        self.switched.append(product)
        self.switched_by.append(who)
        self.current["product"] = product
