"""The walk through a study: which verdict of the line is that of the part asked for."""

import fcntl
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from linewatch.capability.facts import changed, gather
from linewatch.capability.study import Study, StudyError
from linewatch.domain import Verdict
from linewatch.settings import Settings
from linewatch.storage.journal_reader import JournalReader

LOCK = "study.lock"
NEWEST_MAX = 200  # Verdicts read at once; the line makes fewer between two readings.

Place = tuple[int, int]
"""Boot and sequence of a verdict."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the line said since a place of the journal."""

    until: Place
    verdict: Verdict | None = None  # On the part asked for.
    other: str = ""  # The last part that came instead.


def newest(reader: JournalReader) -> Place:
    """Return the place of the newest verdict. Raises StorageFull."""
    found = reader.search(1).verdicts
    return (found[0].boot, found[0].seq) if found else (0, 0)


def look(reader: JournalReader, study: Study, after: Place) -> Seen:
    """Return the first verdict after a place that is on the part asked for. Raises StorageFull.

    What came with it is passed over: the part of the next step was not asked for yet.
    """
    step = study.next_step
    assert step is not None
    found = [one for one in reader.search(NEWEST_MAX).verdicts if (one.boot, one.seq) > after]
    return _first(list(reversed(found)), study, step[1], after)


def _first(verdicts: Sequence[Verdict], study: Study, part: str, after: Place) -> Seen:
    until, other = after, ""
    wanted: Verdict | None = None
    for verdict in verdicts:
        until = verdict.boot, verdict.seq
        if wanted is None and (study.by == "count" or verdict.part == part):
            wanted = verdict
        elif verdict.part != part:
            other = verdict.part or other
    return Seen(until, wanted, other)


def judge_next(study: Study, verdict: Verdict, settings: Settings) -> Study:
    """Return the study with the verdict on the part asked for, and with its facts from the first one on.

    Raises StudyError if product, model, thresholds or recipe are not those that the study began with, and
    RecipeError if they cannot be read.
    """
    after = study.with_verdict(verdict)
    if len(after.judged) == len(study.judged):
        return after
    facts = gather(settings, study.product, verdict.model)
    if not study.facts:
        return replace(after, facts=facts)
    if what := changed(study.facts, facts):
        raise StudyError(
            f"{what} changed since the study began; a study is of one inspection: restore it, "
            "or plan a new study"
        )
    return after


@contextmanager
def hold_station(settings: Settings) -> Iterator[None]:
    """Keep every other study of this station from running during the block. Raises StudyError."""
    path = settings.journal.path.with_name(LOCK)
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CREAT, 0o644)
    except OSError as error:
        raise StudyError(f"{str(path)!r} cannot be opened: {error.strerror}") from error
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise StudyError(
                "a study is running at this station, on the page or in a terminal; pause that one first"
            ) from error
        yield
    finally:
        os.close(descriptor)
