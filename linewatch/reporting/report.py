"""Work out the figures of a shift from the journal."""

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from linewatch.domain import Result, State
from linewatch.reporting.calendar import Shift
from linewatch.reporting.figures import Change, ShiftFigures, StateShare, StateTime
from linewatch.reporting.places import draw_defects
from linewatch.reporting.totals import Totals, add_up, defect_rate, first_pass, results
from linewatch.storage.audit.reading import AuditConditions, AuditEntry
from linewatch.storage.export import export
from linewatch.storage.journal_reader import JournalReader
from linewatch.storage.journal_search import Conditions
from linewatch.storage.states import EXTEND_S, StateSpan, spans

SETTLE_MS = 60_000  # After its end the last verdicts and states of a shift are in the journal.
CHANGES_MAX = 500
TEXT_CHARACTERS_MAX = 300  # Of one fact of a change.
IMAGE_BUDGET_S = 0.1
REVIEWED = "part_reviewed"
RUNNING = (State.READY, State.DEGRADED)


@dataclass(frozen=True, slots=True)
class ShiftReport:
    """The figures of a shift, and for each product its heatmap of defects, JPEG or b""."""

    figures: ShiftFigures
    pictures: Sequence[bytes] = field(default=())


def make_report(
    reader: JournalReader,
    station: str,
    evidence: Path,
    shift: Shift,
    now_ms: int,
    *,
    product: str = "",
    rest: Callable[[float], None] = time.sleep,
) -> ShiftReport:
    """Read a shift in short steps, with as long rests between them. Raises StorageFull."""
    until_ms = max(shift.since_ms + 1, min(shift.until_ms, now_ms))
    wanted = Conditions(product=product, since_ms=shift.since_ms, until_ms=until_ms)
    last_review = reader.last_review()
    products = add_up(export(reader, wanted, rest=rest), shift.since_ms, until_ms)
    counts = results(products.values())
    maps = [
        draw_defects(totals.boxes, _images(reader, name, totals), evidence)
        for name, totals in products.items()
    ]
    states = _states(spans(reader.read, shift.since_ms, until_ms), shift.since_ms, until_ms, now_ms)
    shares = _shares(states)
    acts = AuditConditions(product=product, since_ms=shift.since_ms, until_ms=until_ms)
    reviews, changes, left_out = _changes(reader, acts)
    head = reader.audit_head()
    return ShiftReport(
        ShiftFigures(
            station=station,
            day=shift.day,
            shift=shift.name,
            since_ms=shift.since_ms,
            until_ms=shift.until_ms,
            made_ms=now_ms,
            complete=now_ms >= shift.until_ms + SETTLE_MS,
            product=product,
            inspections=sum(counts.values()),
            results=counts,
            defect_rate=defect_rate(products.values()),
            first_pass=first_pass(products.values()),
            products=[
                totals.figures(name, drawn)
                for (name, totals), drawn in zip(products.items(), maps, strict=True)
            ],
            uptime=sum(share.share for share in shares if share.state in RUNNING),
            shares=shares,
            states=states,
            reviews=reviews,
            changes=changes,
            changes_left_out=left_out,
            audit=f"{head.row}:{head.hash}",
            last_review=last_review,
        ),
        [drawn.jpeg for drawn in maps],
    )


def _images(reader: JournalReader, product: str, totals: Totals) -> list[str]:
    """Return kept frames of a product: of this shift, good parts first, else the newest good part's."""
    if images := [*totals.good_images, *totals.other_images]:
        return images
    good = Conditions(results=frozenset({Result.PASS}), product=product, has_image=True)
    return [verdict.image for verdict in reader.search(1, good, budget_s=IMAGE_BUDGET_S).verdicts]


def _states(found: Sequence[StateSpan], since_ms: int, until_ms: int, now_ms: int) -> list[StateTime]:
    """Return the states one after the other, with the time between them as None.

    The present one is journaled every few seconds, so that it lasts until now if it did a moment ago.
    """
    times: list[StateTime] = []
    reached = since_ms
    for span in found:
        begin = max(reached, span.since_ms)
        if begin > reached:
            times.append(StateTime(state=None, since_ms=reached, until_ms=begin, reason=""))
        if span.until_ms > begin:
            times.append(
                StateTime(state=span.state, since_ms=begin, until_ms=span.until_ms, reason=span.reason)
            )
        reached = max(reached, span.until_ms)
    lag_ms = 2_000 * EXTEND_S
    if times and until_ms == now_ms and times[-1].state and 0 < until_ms - reached <= lag_ms:
        times[-1] = times[-1].model_copy(update={"until_ms": until_ms})
    elif reached < until_ms:
        times.append(StateTime(state=None, since_ms=reached, until_ms=until_ms, reason=""))
    return times


def _shares(states: Sequence[StateTime]) -> list[StateShare]:
    spent: Counter[State | None] = Counter()
    for time_in in states:
        spent[time_in.state] += time_in.until_ms - time_in.since_ms
    whole = spent.total()
    return [StateShare(state=state, share=ms / whole) for state, ms in spent.most_common()]


def _changes(reader: JournalReader, wanted: AuditConditions) -> tuple[int, list[Change], int]:
    """Return the number of reviews, the newest other acts in their order, and how many are left out."""
    reviews, left_out = 0, 0
    changes: list[Change] = []
    for entry in reader.audit_entries(wanted):
        if entry.action == REVIEWED:
            reviews += 1
        elif len(changes) < CHANGES_MAX:
            changes.append(_change(entry))
        else:
            left_out += 1
    return reviews, changes[::-1], left_out


def _change(entry: AuditEntry) -> Change:
    changed = entry.facts.get("changed")  # Settings, of a start.
    why = entry.facts.get("why") or (", ".join(changed) if isinstance(changed, dict) else "")
    before, after, why = (
        str(text or "")[:TEXT_CHARACTERS_MAX]
        for text in (entry.facts.get("from"), entry.facts.get("to"), why)
    )
    return Change(
        at_ms=entry.at_ms,
        who=entry.who,
        action=entry.action,
        product=entry.product,
        before=before,
        after=after,
        why=why,
    )
