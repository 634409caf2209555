"""Every action of the pages has its call in the API, runs the same code, and is in the documentation."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

import linewatch.web
from linewatch.capability.shelf import Shelf
from linewatch.capability.study import numbered_parts, plan
from linewatch.people.people import People
from linewatch.people.roles import Role
from linewatch.settings import ModelsSettings
from linewatch.storage.journal import Journal
from linewatch.teach.collector import Collector
from linewatch.teach.datasets import Datasets
from linewatch.teach.thumbnails import Thumbnails
from linewatch.teach_settings import TeachSettings
from linewatch.web.backend import ProductInfo
from linewatch.web.study.study_backend import StudyBackend
from linewatch.web.teach.description import description
from tests.bundles import part, teach
from tests.fakes import FakeBackend, frame
from tests.test_docs import COMMAND_LINES, rows
from tests.web.client import (
    LEFT_TO_COLLECTOR,
    OPENED,
    PASSWORD,
    people_with,
    png,
    sign_in_as,
    studies_in,
    teaching_in,
)

pytestmark = LEFT_TO_COLLECTOR

Fields = dict[str, Any]
STUDY = "demo-1"
ROI = {"x": "0", "y": "0", "width": "40", "height": "40"}
RIM = {"name": "rim", "percent": "80", "threshold": "", "smallest": "", **ROI}
ACTIONS: tuple[tuple[str, Fields, str, Fields], ...] = (
    # Address and form of the page, operation of the API and its body.
    ("/teach", {"product": "cup", "index": "7"}, "begin", {"product": "cup", "index": 7}),
    ("/teach/archive", {"archive": b"no archive"}, "importModel", {"archive": b"no archive"}),
    ("/teach/demo/look", ROI | {"strokes": ""}, "area", {"roi": [0, 0, 40, 40]}),
    (
        "/teach/demo/regions",
        RIM,
        "regions",
        {"regions": [{"name": "rim", "roi": [0, 0, 40, 40], "threshold_factor": 0.8}]},
    ),
    (
        "/teach/demo/collect",
        {"action": "start", "place": "test/good", "count": "5"},
        "collect",
        {"place": "test/good", "count": 5},
    ),
    ("/teach/demo/collect", {"action": "stop"}, "stopCollecting", {}),
    ("/teach/demo/collect", {"action": "one", "kind": "dent"}, "takeOne", {"place": "test/dent"}),
    ("/teach/demo/collect", {"action": "reviewed"}, "addReviewed", {}),
    ("/teach/demo/collect", {"action": "upload", "image": png()}, "addImages", {"image": png()}),
    (
        "/teach/demo/sort",
        {"action": "goal", "place": "train/good", "name": ["1.png"], "goal": "left_out"},
        "move",
        {"place": "train/good", "names": ["1.png"], "to": "left_out"},
    ),
    ("/teach/demo/sort", {"action": "remove", "name": ["1.png"]}, "remove", {"names": ["1.png"]}),
    ("/teach/demo/sort", {"action": "predict", "name": ["1.png"]}, "thresholdWithout", {"names": ["1.png"]}),
    (
        "/teach/demo/learn",
        {"action": "learn", "percent": "2", "detail": "fine"},
        "learn",
        {"false_reject": 0.02, "detail": "fine"},
    ),
    ("/teach/demo/learn", {"action": "cancel"}, "cancelLearning", {}),
    ("/products/demo", {"action": "activate", "version": "0" * 8}, "activate", {"version": "0" * 8}),
    ("/products/demo", {"action": "try", "version": "0" * 8}, "try", {"version": "0" * 8}),
    ("/products/demo", {"action": "rollback"}, "rollBack", {}),
    ("/products/demo", {"action": "promote"}, "promote", {}),
    ("/products/demo", {"action": "discard"}, "discard", {}),
    ("/products/demo/threshold", {"threshold": "1,9"}, "saveThreshold", {"threshold": 1.9}),
    (
        "/people/users",
        {"user": "ben", "password": PASSWORD, "role": "engineer"},
        "addUser",
        {"name": "ben", "password": PASSWORD, "role": "engineer"},
    ),
    ("/people/users/nobody/role", {"role": "engineer"}, "setRole", {"role": "engineer"}),
    ("/people/users/nobody/password", {"password": PASSWORD}, "setPassword", {"password": PASSWORD}),
    ("/people/users/nobody/remove", {}, "removeUser", {}),
    (
        "/people/tokens",
        {"token": "mes", "role": "operator"},
        "issueToken",
        {"name": "mes", "role": "operator"},
    ),
    ("/people/tokens/nothing/remove", {}, "revokeToken", {}),
    (
        "/study",
        {"product": "demo", "good": "3", "defective": "2", "passes": "2", "by": "part", "people": "Ann, Bob"}
        | {"miss_percent": "5", "alarm_percent": "10", "keep_as": "weekly", "every_days": "7"},
        "planStudy",
        {"product": "demo", "good": 3, "defective": 2, "passes": 2, "people": ["Ann", "Bob"]}
        | {"miss_rate": 0.05, "false_alarm_rate": 0.1, "keep_as": "weekly", "every_days": 7},
    ),
    *(
        (f"/study/{STUDY}", {"action": action}, operation, {})
        for action, operation in (
            ("run", "runStudy"),
            ("pause", "pauseStudy"),
            ("skip", "skipPart"),
            ("undo", "undoVerdict"),
            ("discard", "discardStudy"),
        )
    ),
    ("/study/sets/weekly", {"action": "repeat", "people": "Ann"}, "planAgain", {"people": ["Ann"]}),
    ("/study/sets/weekly", {"action": "schedule", "every_days": "30"}, "scheduleSet", {"every_days": 30}),
    ("/study/sets/weekly", {"action": "remove"}, "forgetSet", {}),
)
ELSEWHERE = {
    "/inspect": "inspect",
    "/recall": "recall",
    "/products": "switchProduct",
    "/study/verify": "verifyStudy",
    "/history/1/1": "review",
}
"""Actions of other pages, whose own tests compare them with their operations."""

PEOPLE_ONLY = {
    "/sign-in": "programs send a token",
    "/sign-out": "the same",
    "/account/password": "a token has none; setPassword is for admins",
    "/language": "the sentences of the API follow Accept-Language",
}
PROGRAMS_ONLY = {"nextPart": "the page does it whenever it is loaded"}
TEMPLATES = Path(linewatch.web.__file__).parent / "templates"
BUTTON = re.compile(r'name="action" value="([a-z]+)"|confirm\([^")]*"([a-z]+)"')
OPERATIONS = {
    operation["operationId"]: (
        method,
        path,
        next(iter(operation.get("requestBody", {}).get("content", {})), ""),
    )
    for path, methods in description()["paths"].items()
    for method, operation in methods.items()
}


class Recording:
    """Passes every call on, and keeps those of methods that change something, or predict it."""

    def __init__(self, inner: Any) -> None:
        self._inner = inner
        self.calls: list[tuple[str, str]] = []

    def __getattr__(self, name: str) -> Any:
        found = getattr(self._inner, name)
        code = getattr(found, "__code__", None)
        if code is None or not {"by", "names"} & set(code.co_varnames[: code.co_argcount]):
            return found

        def call(*values: object) -> object:
            told = [value for value in values if value not in ("admin", "token:machine")]  # Who asks.
            self.calls.append((name, repr(told)))
            return found(*values)

        return call


@pytest.fixture
def studies(tmp_path: Path) -> Iterator[StudyBackend]:
    """Return studies with one that has begun."""
    shelf = Shelf(tmp_path / "studies")
    parts = numbered_parts(2, 2)
    study = plan(parts, product="demo", passes=2, by="part", people=["Ann"], seed=1)
    shelf.save(STUDY, replace(study, not_judged=1))  # So that it is not discarded.
    with Journal.open(tmp_path / "journal.db") as journal, studies_in(tmp_path, journal) as studies:
        yield studies


@pytest.fixture
def recorded(tmp_path: Path, backend: FakeBackend, studies: StudyBackend) -> dict[str, Recording]:
    """Return what teaches, with a product "demo" and a frame, and what knows people."""
    teach(ModelsSettings(path=tmp_path / "models", recipes=tmp_path / "recipes"))
    backend.product_infos = [ProductInfo("demo", 1, "", 0.0, 0.0), ProductInfo("cup", 7, "", 0.0, 0.0)]
    datasets = Datasets(TeachSettings(path=tmp_path / "datasets"))
    thumbnails = Thumbnails(datasets)
    OPENED.append(thumbnails)
    collector = Collector(datasets, thumbnails)
    collector.offer(frame(image=part()))
    return {
        "teaching": Recording(teaching_in(tmp_path, collector=collector)),
        "people": Recording(people_with()),
        "studies": Recording(studies),
    }


@pytest.mark.parametrize(
    ("address", "form", "operation", "body"), ACTIONS, ids=[f"{row[0]} {row[2]}" for row in ACTIONS]
)
def test_page_and_api_run_the_same_code(
    make_app: Callable[..., Flask],
    recorded: dict[str, Recording],
    address: str,
    form: Fields,
    operation: str,
    body: Fields,
) -> None:
    """The form of the page and the body of the call reach the same function with the same values."""
    people: People = recorded["people"]._inner
    token = people.add_token("machine", Role.ADMIN, "test")
    app = make_app(**recorded)
    page, program = sign_in_as(app.test_client(), "admin"), app.test_client()
    method, path, media = OPERATIONS[operation]
    for word in re.findall(r"\{\w+\}", path):
        path = path.replace(
            word, address.split("/")[3 if address.startswith(("/people", "/study/sets")) else 2]
        )

    page.post(address, data=_sent(form))
    by_page = _taken(recorded)
    sent: Fields = {"data": _sent(body)} if media == "multipart/form-data" else {"json": body}
    program.open(path, method=method.upper(), headers={"Authorization": f"Bearer {token}"}, **sent)

    assert by_page, "the form reaches something"
    assert _taken(recorded)[0] == by_page[0]  # A page that is refused asks for more, to be shown again.


def test_no_page_has_an_action_without_a_call(make_app: Callable[..., Flask]) -> None:
    """Each address that takes forms, each button on it, and each operation that changes something."""
    app = make_app()
    known = [*(row[0] for row in ACTIONS), *ELSEWHERE, *PEOPLE_ONLY]
    urls = app.url_map.bind("station")
    covered = {urls.match(address, "POST", return_rule=True)[0].rule for address in known}
    taking = {
        rule.rule
        for rule in app.url_map.iter_rules()
        if "POST" in (rule.methods or ()) and not rule.rule.startswith("/api/")
    }
    buttons = {
        next(filter(None, found.groups()))
        for path in TEMPLATES.rglob("*.html")
        for found in BUTTON.finditer(path.read_text())
    }

    assert taking - covered == set()
    assert buttons == {row[1]["action"] for row in ACTIONS if "action" in row[1]}
    changing = {name for name, (method, *_) in OPERATIONS.items() if method != "get"}
    assert changing == {row[2] for row in ACTIONS} | set(ELSEWHERE.values()) | PROGRAMS_ONLY.keys()


def test_every_operation_stands_beside_its_command() -> None:
    """In the documentation, which names only commands that there are."""
    table = [
        cells
        for name in ("teach.md", "people.md", "page.md", "capability.md")
        for cells in rows(name, "operation")
    ]
    named = [word for cells in table for word in re.findall("`([A-Za-z]+)`", cells[0])]
    commands = {
        match
        for cells in table
        for match in re.findall("`linewatch ((?:models |users |msa )?[a-z]+)", cells[2])
    }

    assert sorted(named) == sorted(name for name, (method, *_) in OPERATIONS.items() if method != "get")
    assert commands <= set(COMMAND_LINES)
    assert len(commands) > 15


def _sent(fields: Fields) -> Fields:
    """Return fields as a form sends them: bytes are files."""
    return {
        name: (BytesIO(value), "upload.png") if isinstance(value, bytes) else value
        for name, value in fields.items()
    }


def _taken(recorded: dict[str, Recording]) -> list[tuple[str, str]]:
    """Return the calls since the last time."""
    found = [call for one in recorded.values() for call in one.calls]
    for one in recorded.values():
        one.calls.clear()
    return found
