from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4

from linewatch.domain import Result
from linewatch.storage.journal import Journal
from linewatch.web import Row, create_app
from tests.fakes import FakeBackend, verdict
from tests.web.client import OPENED, TOKEN, studies_in, teaching_in
from tests.web.shift_fakes import FakeShifts


@pytest.fixture(autouse=True)
def _end_processes() -> Iterator[None]:
    """End the processes that pages of teaching have started."""
    yield
    while OPENED:
        OPENED.pop().close()


@pytest.fixture
def backend() -> FakeBackend:
    """Five parts: 1 PASS, 2 FAIL, 3 UNSURE, 4 ERROR, 5 PASS of another product."""
    return FakeBackend(
        Row(verdict(1, captured_ms=1_790_000_001_000)),
        Row(verdict(2, Result.FAIL, image="2.png", heatmap="2.jpg", defects=1, box=(4, 8, 6, 7))),
        Row(verdict(3, Result.UNSURE)),
        Row(verdict(4, Result.ERROR)),
        Row(verdict(5, product="screw", part="A<b>5")),
    )


@pytest.fixture
def make_app(backend: FakeBackend, tmp_path: Path) -> Iterator[Callable[..., Flask]]:
    """Return a function that builds the app over `backend`, with evidence in tmp_path/evidence."""
    registry = CollectorRegistry()
    Counter("parts", "Parts", registry=registry).inc(3)
    (tmp_path / "evidence").mkdir()

    def metrics() -> tuple[bytes, str]:
        return generate_latest(registry), CONTENT_TYPE_PLAIN_0_0_4

    def make(token: str = TOKEN, **more: Any) -> Flask:
        more.setdefault("teaching", teaching_in(tmp_path))
        more.setdefault("shifts", FakeShifts())
        more.setdefault("studies", studies_in(tmp_path, journal))
        return create_app(backend, metrics, token, tmp_path / "evidence", **more)

    with Journal.open(tmp_path / "studies.db") as journal:
        yield make


@pytest.fixture
def client(make_app: Callable[..., Flask]) -> Iterator[FlaskClient]:
    """Call the app without a network; an exception in it fails the test."""
    app = make_app()
    app.testing = True
    with app.test_client() as client:
        yield client
