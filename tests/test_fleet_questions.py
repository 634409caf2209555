"""The SQL of docs/examples/fleet, asked of two stations of which every part is known."""

import re
from collections import deque
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import duckdb
import pytest
from scipy.stats import binomtest

from linewatch.domain import Reason, Result, State
from linewatch.storage.journal import Journal
from linewatch.storage.shipping.ship import ship
from linewatch.storage.states import StateChange, StateLog
from tests.daemon import ROOT
from tests.storage.test_journal import verdict

QUESTIONS = ROOT / "docs/examples/fleet"
HOUR_MS = 3_600_000
START_MS = 20_784 * 24 * HOUR_MS  # 2026-11-27, a UTC midnight.
HOURS, PARTS = 30, 10  # Parts of an hour.
WORSE_HOUR = 15
LATE_HOUR = 20
DAYS = {"first_day": "DATE '2026-11-27'", "last_day": "DATE '2026-11-28'"}

Ask = Callable[..., list[tuple[Any, ...]]]


@pytest.fixture(scope="module")
def plant(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Ship two stations: from the second day's end station b ships no more."""
    folder = tmp_path_factory.mktemp("plant")
    for name in ("a", "b"):
        make(name, tmp_path_factory.mktemp(name) / "journal.db", folder)
    for path in (folder / "station=b/day=2026-11-28").iterdir():
        path.unlink()
    return folder


def make(name: str, path: Path, plant: Path) -> None:
    """Fill a journal: 10 % fail, at station a 50 % from the hour on in which it gets worse."""
    now_ms = START_MS
    with Journal.open(path, clock_ms=lambda: now_ms) as journal, journal.reader() as reader:
        for seq in range(1, HOURS * PARTS + 1):
            hour, number = divmod(seq - 1, PARTS)
            captured_ms = START_MS + hour * HOUR_MS + number * 60_000
            now_ms = captured_ms + 30
            worse = name == "a" and hour >= WORSE_HOUR
            facts: dict[str, object] = {"result": Result.PASS}
            if number < (5 if worse else 1):
                facts = {"result": Result.FAIL, "reason": Reason.ABOVE_THRESHOLD, "region": "rim", "raw": 3.0}
            if (name, hour, number) == ("b", LATE_HOUR, 9):
                facts = {"result": Result.ERROR, "reason": Reason.LATE, "late": True}
            facts |= (
                {"product": "bottle", "model": "7f3a91c2"}
                if hour < 12
                else {"product": "lid", "model": "91c27f3a"}
            )
            part = verdict(journal.boot, seq, captured_ms=captured_ms, latency_ms=20 + number, **facts)
            journal.append(verdict(journal.boot, seq, **{**_fields(part), "part": f"{name}-{seq:05d}"}))
            if hour in (0, 3) and number == 0:
                recipe = {"threshold": 2.0 - hour / 6, "unsure_threshold": 1.0}
                came = {
                    "from": "bottle/7f3a91c2",
                    "to": "bottle/7f3a91c2",
                    "why": "by hand",
                    "recipe": recipe,
                }
                journal.audit("anna", "in_use", {"product": "bottle", **came})
        journal.review(journal.boot, 1, "good", "dust", "anna")  # A false reject.
        journal.review(journal.boot, 2, "defect", "", "anna")  # An escape.
        journal.review(journal.boot, 11, "defect", "", "ben")
        states = [(0, State.READY), (6, State.FAULT), (12, State.DEGRADED), (24, State.STOPPED)]
        changes = (StateChange(START_MS + hour * HOUR_MS, state, "bottle", "lamp") for hour, state in states)
        StateLog(journal, deque(changes)).write()
        list(ship(reader, name, plant, START_MS + 49 * HOUR_MS, rest=lambda _: None))


def _fields(part: object) -> dict[str, object]:
    return {name: getattr(part, name) for name in part.__slots__ if name not in ("boot", "seq")}  # type: ignore[attr-defined]


@pytest.fixture
def ask(plant: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Ask]:
    """Return a function that asks a question with its variables set, as a person edits them."""
    monkeypatch.chdir(plant)
    with duckdb.connect() as db:
        db.execute("SET TimeZone = 'UTC'")
        db.execute((QUESTIONS / "views.sql").read_text())

        def run(question: str, **variables: str) -> list[tuple[Any, ...]]:
            text = (QUESTIONS / f"{question}.sql").read_text()
            for name, value in variables.items():
                text, found = re.subn(
                    rf"^SET VARIABLE {name} = [^;]*;", f"SET VARIABLE {name} = {value};", text, flags=re.M
                )
                assert found == 1, (question, name)
            return db.execute(text).fetchall()

        yield run


def at(hour: int, minute: int = 0) -> datetime:
    """Return a time after the first midnight."""
    return datetime.fromtimestamp((START_MS + hour * HOUR_MS) / 1000 + minute * 60, UTC)


def test_since_when(ask: Ask) -> None:
    """The hour, and the rates before and since; the other station comes last."""
    rows = ask("since_when", **DAYS, reason="10", region="'rim'")

    assert rows[0][:5] == ("a", at(WORSE_HOUR), 0.1, 0.5, 75)
    assert rows[0][5] > 5 > rows[1][5]
    assert ask("since_when", **DAYS, reason="10", region="'lid'") == []


def test_parts_between(ask: Ask) -> None:
    """Times may have any zone; a part on the first is in it, one on the second is not."""
    hour = {"since": "TIMESTAMPTZ '2026-11-27 02:00+01:00'", "until": "TIMESTAMPTZ '2026-11-27 02:09+01:00'"}
    rows = ask("parts_between", station="'b'", **hour)

    assert [row[0] for row in rows] == [at(1, minute) for minute in range(9)]
    assert rows[0][3:9] == ("b-00011", "bottle", "FAIL", 10, "rim", 1.5)
    assert rows[0][11:] == ("defect", "ben")
    assert rows[1][11:] == (None, None)


def test_parts_between_over_midnight(ask: Ask) -> None:
    """Two days of files are read."""
    hours = {"since": "TIMESTAMPTZ '2026-11-27 23:00Z'", "until": "TIMESTAMPTZ '2026-11-28 01:00Z'"}

    assert len(ask("parts_between", station="'a'", **hours)) == 2 * PARTS


def test_find_part(ask: Ask) -> None:
    """By the whole id or what it begins with, at any station."""
    assert [row[:3] for row in ask("find_part", **DAYS, part="'b-00012'")] == [("b", at(1, 1), "b-00012")]
    assert len(ask("find_part", **DAYS, part="'a-0001'")) == 10


def test_defect_rate_with_its_interval(ask: Ask) -> None:
    """The interval is that of SciPy; an ERROR is no judged part."""
    rows = {(*row[:2], str(row[2])): row[3:] for row in ask("defect_rate", **DAYS)}

    exact = binomtest(12, 120).proportion_ci(method="wilson")
    assert rows["b", "bottle", "2026-11-27"] == (
        120,
        12,
        0.1,
        round(exact.low, 5),
        round(exact.high, 5),
        0,
        0,
    )
    assert rows["a", "lid", "2026-11-28"][:2] == (60, 30)
    assert rows["b", "lid", "2026-11-27"][:2] + rows["b", "lid", "2026-11-27"][-1:] == (119, 12, 1)
    assert len(rows) == 5


def test_who_changed_a_threshold(ask: Ask) -> None:
    """With the value before, by station."""
    rows = [row for row in ask("who_changed", **DAYS) if row[0] == "b"]

    assert [row[1:5] for row in rows] == [
        (at(hour, 0).replace(microsecond=30_000), "anna", "in_use", "bottle") for hour in (0, 3)
    ]
    assert [row[7:9] for row in rows] == [(None, 2.0), (2.0, 1.5)]
    assert rows[0][11] == "by hand"


def test_false_rejects_of_reviewed_parts(ask: Ask) -> None:
    """One of two reviewed rejects was good, the one reviewed PASS was defective."""
    rows = ask("false_rejects", **DAYS)

    exact = binomtest(1, 2).proportion_ci(method="wilson")
    half = (2, 1, 0.5, round(exact.low, 4), round(exact.high, 4), 1, 1, 1.0)
    assert rows == [("a", "bottle", *half), ("b", "bottle", *half)]


def test_uptime(ask: Ask) -> None:
    """Of 24 hours it judged 18; in FAULT it did not."""
    one = {"first_day": "DATE '2026-11-27'", "last_day": "DATE '2026-11-27'"}

    assert ask("uptime", **one)[0] == ("a", 75.0, 6.0, 12.0, 6.0, 0.0, 0.0, 0.0, "lamp")
    assert ask("uptime", **DAYS)[0][:2] == ("a", 37.5)


def test_latency_and_late_parts(ask: Ask) -> None:
    """Quantiles are exact."""
    rows = {row[0]: row[1:] for row in ask("latency", **DAYS)}

    assert rows["a"] == (300, 24, 29, 29, 29, 0, 0.0)
    assert rows["b"] == (240, 24, 29, 29, 29, 1, round(1e6 / 240, 1))


def test_which_model_judged_where(ask: Ask) -> None:
    """From the first part to the last."""
    assert ask("models", **DAYS)[0] == (
        "bottle", "7f3a91c2", "a", at(0), at(11, 9), 120, 0.1, 2.0, 2.0
    )  # fmt: skip
    assert [row[:3] for row in ask("models", **DAYS)][2:] == [
        ("lid", "91c27f3a", "a"),
        ("lid", "91c27f3a", "b"),
    ]


def test_top_reasons(ask: Ask) -> None:
    """The most frequent first, in words."""
    rows = ask("top_reasons", **DAYS)

    assert [row[:6] for row in rows] == [
        ("a", 10, "score above threshold", "rim", 90, 100.0),
        ("b", 10, "score above threshold", "rim", 24, 96.0),
        ("b", 30, "deadline missed", "", 1, 4.0),
    ]


def test_every_reason_has_its_words() -> None:
    """A new reason gets its line in top_reasons.sql."""
    text = (QUESTIONS / "top_reasons.sql").read_text()

    assert {int(number) for number in re.findall(r"WHEN (\d+) THEN", text)} == set(Reason) - {Reason.NONE}


def test_which_version_each_station_runs(ask: Ask) -> None:
    """The last one that came into use; tests/test_fleet_rollout.py has its digest."""
    assert [row[:3] for row in ask("versions")] == [
        ("a", "bottle", "bottle/7f3a91c2"),
        ("b", "bottle", "bottle/7f3a91c2"),
    ]


def test_missing_days(ask: Ask) -> None:
    """Station b shipped nothing on the second day."""
    rows = ask("missing_days", **DAYS)

    assert [(row[0], row[1], *map(str, row[2:])) for row in rows] == [
        ("b", 1, "2026-11-28", "2026-11-28", "2026-11-27")
    ]


def test_stations_of_different_releases_are_asked_together(
    plant: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A column that older files lack is empty there; whichever file comes first, none is left out."""
    for name, columns in (("a", "* EXCLUDE (defects)"), ("b", "*, 1.5 AS added")):
        source = plant / f"station={name}/day=2026-11-27/verdicts.parquet"
        target = tmp_path / f"station={name}/day=2026-11-27"
        target.mkdir(parents=True)
        duckdb.sql(f"COPY (SELECT {columns} FROM '{source}') TO '{target}/verdicts.parquet'")
    monkeypatch.chdir(tmp_path)
    view = re.search(r"^CREATE [^;]+ VIEW verdicts [^;]+;", (QUESTIONS / "views.sql").read_text(), re.M)
    assert view is not None
    with duckdb.connect() as db:
        db.execute(view[0])
        rows = db.execute(
            "SELECT station, count(*), count(defects), any_value(added) FROM verdicts GROUP BY 1 ORDER BY 1"
        ).fetchall()

    assert [tuple(map(str, row)) for row in rows] == [("a", "240", "0", "None"), ("b", "240", "240", "1.5")]


def test_every_question_stands_in_the_document_and_is_asked_here() -> None:
    """A new file gets its line in docs/fleet.md and a test above."""
    files = {path.stem for path in QUESTIONS.glob("*.sql")} - {"views"}
    document, tests = (ROOT / "docs/fleet.md").read_text(), Path(__file__).read_text()

    assert {name for name in files if f"(examples/fleet/{name}.sql)" in document} == files
    assert {name for name in files if f'ask("{name}"' in tests} == files
