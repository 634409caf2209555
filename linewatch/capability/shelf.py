"""The studies of a station and their sets of parts, as files in one folder.

NAME.json          a study, as `linewatch msa` writes it
NAME.html          the result of a complete one
NAME.result.json   its hashes and figures, so that lists and metrics need no SciPy
sets/SET.csv       known parts, with the columns part and truth
sets/SET.json      how they are studied, and how often
"""

import json
import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar

from pydantic import TypeAdapter

from linewatch.capability import study as studies
from linewatch.capability.apart import Result
from linewatch.capability.study import By, KnownPart, Limits, Study, StudyError
from linewatch.errors import LinewatchError
from linewatch.identifiers import NAME
from linewatch.runtime.atomic_files import translate_os_errors, write_text

SETS = "sets"
SETS_MAX = 100
DAY_MS = 86_400_000
Stamps = tuple[tuple[int, int], ...]
"""Time of change and inode of a study and of its page."""
ABSENT = (0, 0)
T = TypeVar("T")
STUDY_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,79}")


@dataclass(frozen=True, slots=True)
class Reported:
    """What is kept of a result beside its page."""

    sha256: str  # Of the study's data.
    page_sha256: str  # Of the page's bytes.
    outcome: str  # "" if no limits were chosen.
    completed_ms: int  # UTC milliseconds since 1970.
    by: str
    figures: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Entry:
    """One study of the folder; `study` is None if it cannot be read."""

    name: str
    study: Study | None
    trouble: str = ""
    reported: Reported | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """How the parts of a set are studied."""

    product: str
    passes: int
    by: By
    every_days: int  # 0: whenever one wants.
    created_ms: int
    limits: Limits | None = None


@dataclass(frozen=True, slots=True)
class ReferenceSet:
    """Known parts that are kept to be studied again."""

    name: str
    plan: Plan
    parts: tuple[KnownPart, ...]
    last: Entry | None  # Its last complete study.

    @property
    def due_ms(self) -> int | None:
        """When the next study is due, UTC milliseconds since 1970; None without a schedule."""
        if not self.plan.every_days:
            return None
        done = self.last.reported.completed_ms if self.last and self.last.reported else self.plan.created_ms
        return done + self.plan.every_days * DAY_MS

    def overdue(self, now_ms: int) -> bool:
        """Whether the next study should have been done."""
        return self.due_ms is not None and now_ms >= self.due_ms


class Shelf:
    """The folder. Reading it finds what the command wrote there, too."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._known: dict[str, tuple[Stamps, Entry]] = {}

    def entries(self) -> list[Entry]:
        """Return every study, the last changed first."""
        self._known = {path.stem: self._entry(path) for path in self.root.glob("*.json") if _is_study(path)}
        return [entry for _, entry in sorted(self._known.values(), key=_changed, reverse=True)]

    def entry(self, name: str) -> Entry | None:
        """Return one study; None if there is none of that name."""
        return next((one for one in self.entries() if one.name == name), None)

    def add(self, study: Study) -> str:
        """Keep a new study and return its name. Raises StorageFull."""
        now = datetime.fromtimestamp(time.time(), UTC)
        stem = f"{study.product}-{now:%Y%m%d-%H%M%S}"
        name, number = stem, 1
        while self._path(name).exists():
            number += 1
            name = f"{stem}-{number}"
        self.save(name, study)
        return name

    def save(self, name: str, study: Study) -> None:
        """Write a study, to the disk: a power cut loses no verdict. Raises StorageFull."""
        studies.save(study, self._path(name), sync=True)

    def remove(self, name: str) -> None:
        """Delete a study. Raises StorageFull."""
        with translate_os_errors(self._path(name)):
            self._path(name).unlink()

    def page(self, name: str) -> Path:
        """Return where the page of a result is, or would be."""
        return self.root / f"{name}.html"

    def report(self, name: str, result: Result, reported: Reported) -> None:
        """Write a result; its page last, so that what has a page is whole. Raises StorageFull."""
        facts = json.dumps(asdict(reported), indent=1) + "\n"
        write_text(self.root / f"{name}.result.json", facts, sync=True)
        write_text(self.page(name), result.html, sync=True)

    def sets(self) -> tuple[list[ReferenceSet], list[str]]:
        """Return the sets of parts by name, and a sentence for each that cannot be read."""
        done = [one for one in self.entries() if one.study and one.reported]
        found, troubles = [], []
        for name in self._set_names():
            try:
                found.append(self._read_set(name, done))
            except LinewatchError as trouble:
                troubles.append(str(trouble))
        return found, troubles

    def keep(self, name: str, plan: Plan, parts: Sequence[KnownPart]) -> None:
        """Keep a set of parts; the parts of a known one are replaced. Raises StudyError, StorageFull."""
        if not NAME.fullmatch(name):
            raise StudyError(
                f"{name!r} cannot name a set; use 1 to 32 letters, digits, dots, dashes and underscores"
            )
        names = self._set_names()
        if name not in names and len(names) >= SETS_MAX:
            raise StudyError(f"there are {SETS_MAX} sets of parts already; remove one first")
        write_text(self.root / SETS / f"{name}.csv", studies.parts_text(parts), sync=True)
        write_text(self.root / SETS / f"{name}.json", json.dumps(asdict(plan), indent=1) + "\n", sync=True)

    def forget(self, name: str) -> None:
        """Delete a set of parts; its studies stay. Raises StorageFull."""
        for path in (self.root / SETS / f"{name}.json", self.root / SETS / f"{name}.csv"):
            with translate_os_errors(path):
                path.unlink(missing_ok=True)

    def _path(self, name: str) -> Path:
        return self.root / f"{name}.json"

    def _entry(self, path: Path) -> tuple[Stamps, Entry]:
        stamp = tuple(_stamp(one) for one in (path, self.page(path.stem)))
        known = self._known.get(path.stem)
        if known is not None and known[0] == stamp:
            return known
        try:
            return stamp, Entry(path.stem, studies.load(path), reported=self._reported(path.stem))
        except LinewatchError as trouble:
            return stamp, Entry(path.stem, None, str(trouble))

    def _reported(self, name: str) -> Reported | None:
        if _stamp(self.page(name)) == ABSENT:
            return None
        return _read(_REPORTED, self.root / f"{name}.result.json")

    def _set_names(self) -> list[str]:
        return sorted(p.stem for p in (self.root / SETS).glob("*.json") if NAME.fullmatch(p.stem))

    def _read_set(self, name: str, done: Sequence[Entry]) -> ReferenceSet:
        plan = _read(_PLAN, self.root / SETS / f"{name}.json")
        parts = studies.read_parts(self.root / SETS / f"{name}.csv")
        own = [one for one in done if one.study and one.study.reference == name]
        return ReferenceSet(name, plan, tuple(parts), max(own, key=_completed_ms, default=None))


def _is_study(path: Path) -> bool:
    return not path.name.endswith(".result.json") and STUDY_NAME.fullmatch(path.stem) is not None


def _completed_ms(entry: Entry) -> int:
    return entry.reported.completed_ms if entry.reported else 0


def _changed(known: tuple[Stamps, Entry]) -> Stamps:
    return known[0]


def _read(kind: TypeAdapter[T], path: Path) -> T:
    try:
        return kind.validate_json(path.read_bytes())
    except (OSError, ValueError) as error:
        raise StudyError(f"{str(path)!r} cannot be read; restore it from a copy or delete it") from error


def _stamp(path: Path) -> tuple[int, int]:
    try:
        found = path.stat()
    except OSError:
        return ABSENT
    return found.st_mtime_ns, found.st_ino


_REPORTED = TypeAdapter(Reported)
_PLAN = TypeAdapter(Plan)
