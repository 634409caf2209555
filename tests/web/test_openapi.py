"""The API against its OpenAPI document: every response is one that the document describes.

A few hundred random calls by default; `make api-calls` makes ten thousand (set by API_CALLS).
"""

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import requests
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis import GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.core.result import Ok
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from linewatch.domain import Result, State
from linewatch.models.scoring_worker import ScoringWorker
from linewatch.mqtt.messages import StateFacts, state_payload, verdict_payload
from linewatch.people.roles import Role
from linewatch.storage.journal import Journal
from linewatch.web import WebServer, create_app
from linewatch.web.office_backend import OfficeBackend
from linewatch.web.openapi import StationState, Verdict
from linewatch.web.teach.description import description
from tests.bundles import models_in, part, png, teach
from tests.fakes import verdict
from tests.web.client import TOKEN, people_with, studies_in, teaching_in
from tests.web.shift_fakes import FakeShifts

CALLS = int(os.environ.get("API_CALLS", "300"))
SECRET = b"the content of a file outside the evidence folder"
CHECKS: list[Any] = [content_type_conformance, response_schema_conformance, status_code_conformance]
DESCRIPTION = description()
FOR_PROGRAMS = ("/api", "/healthz", "/readyz", "/metrics", "/live.jpg", "/evidence")

PEOPLE = people_with(Role.ADMIN, Role.OPERATOR)
ADMIN = PEOPLE.add_token("random-calls", Role.ADMIN, "test")

load_all_checks()


@pytest.fixture(scope="module")
def app(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Flask]:
    """Return the app with real journal, models, evidence and scoring process."""
    folder = tmp_path_factory.mktemp("station")
    models = models_in(folder)
    teach(models)
    evidence = folder / "evidence"
    evidence.mkdir()
    (evidence / "1.png").write_bytes(png(part()))
    (folder / "secret.png").write_bytes(SECRET)
    with Journal.open(folder / "journal.db") as journal, ScoringWorker(models, "station1") as worker:
        for seq, result in enumerate(Result, 1):
            journal.append(verdict(seq, result, boot=journal.boot, product="demo", image="1.png"))
            journal.release(journal.boot, seq)
        office = OfficeBackend("station1", journal, models, worker)
        before = files(folder)
        teaching = teaching_in(tmp_path_factory.mktemp("teaching"), changed=office.forget_products)
        studies = studies_in(tmp_path_factory.mktemp("studies"), journal)
        shown = office, lambda: (b"", "text/plain"), TOKEN, evidence
        create = partial(create_app, *shown, people=PEOPLE)
        yield create(teaching=teaching, shifts=FakeShifts(), studies=studies)
        studies.close()
        assert files(folder) == before, "no call leaves a file"


def files(folder: Path) -> set[Path]:
    """Return every file below a folder except the journal's."""
    return {path for path in folder.rglob("*") if not path.name.startswith("journal.db")}


def test_every_address_for_programs_is_described(app: Flask) -> None:
    """The routes for programs and the operations described are the same."""
    described = DESCRIPTION["paths"]
    served = {
        (str(rule).replace("ordinal:", "").replace("path:", "").replace("<", "{").replace(">", "}"), method)
        for rule in app.url_map.iter_rules()
        if str(rule).startswith(FOR_PROGRAMS)
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }

    assert served == {(path, method.upper()) for path, methods in described.items() for method in methods}


def test_the_description_is_served(app: Flask) -> None:
    """Programs find it at a fixed address, and may ask again with its ETag."""
    client = app.test_client()
    first = client.get("/static/openapi.json")

    again = client.get("/static/openapi.json", headers={"If-None-Match": first.headers["ETag"]})

    assert (first.status_code, first.mimetype, first.get_json()) == (200, "application/json", DESCRIPTION)
    assert (again.status_code, again.data) == (304, b"")


def test_state_and_verdict_are_described_as_they_are_on_the_wire() -> None:
    """Every key of both topics, in their order."""
    facts = StateFacts(station="station1", boot=41, state=State.READY)

    assert list(StationState.model_fields) == list(state_payload(facts))
    assert list(Verdict.model_fields) == list(verdict_payload(verdict(1), history=False))


@pytest.mark.timeout(60 + CALLS)
# Werkzeug leaves the buffer of a truncated form to the garbage collector, which closes it at once.
@pytest.mark.filterwarnings("ignore:Unclosed file <tempfile.SpooledTemporaryFile:ResourceWarning")
def test_random_calls_get_what_the_description_promises(app: Flask) -> None:
    """Valid and invalid calls get only described responses; nothing leaks and no file is left."""
    schema = schemathesis.openapi.from_dict(DESCRIPTION)
    operations = [found.ok() for found in schema.get_all_operations() if isinstance(found, Ok)]
    asked: set[tuple[str, int]] = set()

    def ask_for(operation: Any, page: WebServer, session: requests.Session) -> None:
        def ask(case: Any, bearer: bool, known: bool) -> None:
            if known:
                use_existing_names(case)
            headers = {"Authorization": f"Bearer {ADMIN}"} if bearer else {}
            response = case.call(base_url=page.address, headers=headers, session=session)
            asked.add((case.operation.path, response.status_code))
            case.validate_response(response, checks=CHECKS)
            assert response.status_code != 500
            assert b"Traceback" not in response.content and SECRET not in response.content
            assert TOKEN.encode() not in response.content

        valid, invalid = (operation.as_strategy(generation_mode=mode) for mode in GenerationMode)
        anything = given(case=valid | invalid, bearer=st.booleans(), known=st.booleans())
        good_calls = given(case=valid, bearer=st.just(True), known=st.just(True))
        limits = settings(
            max_examples=max(4, CALLS // len(operations) // 2),
            deadline=None,
            derandomize=CALLS <= 1000,
            suppress_health_check=list(HealthCheck),
            database=None,
        )
        for calls in (anything, good_calls):
            limits(calls(ask))()

    with WebServer(app, "127.0.0.1", 0) as page, requests.Session() as session:
        for operation in operations:
            ask_for(operation, page, session)

    assert len(operations) == sum(len(methods) for methods in DESCRIPTION["paths"].values())
    assert {path for path, _ in asked} == {operation.path for operation in operations}
    answered = {path for path, status in asked if status == 200}
    assert answered >= {
        "/api/verdicts",
        "/api/inspect",
        "/api/verdicts/{boot}/{seq}/review",
        "/evidence/{path}",
        "/api/users",
        "/api/tokens",
    }
    assert {200, 400, 401, 404, 409} <= {status for _, status in asked}


def use_existing_names(case: Any) -> None:
    """Insert names of existing things, which random values hardly ever hit."""
    there = {
        "boot": 1,
        "seq": 2,
        "path": "1.png",
        "product": "demo",
        "name": "operator",
        "image": png(part()),
    }
    for place in (case.path_parameters, case.query, case.body):
        if isinstance(place, dict):
            place.update({name: value for name, value in there.items() if name in place})
