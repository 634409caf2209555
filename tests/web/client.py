"""What the tests of the page send: the token, images and forms."""

import sys
from io import BytesIO
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from linewatch.people.people import People
from linewatch.people.roles import Role
from linewatch.settings import (
    EvidenceSettings,
    JournalSettings,
    ModelsSettings,
    Settings,
    TriggerSettings,
)
from linewatch.storage.journal import Journal
from linewatch.study_settings import StudySettings
from linewatch.teach.datasets import Datasets
from linewatch.teach.learning import Learning
from linewatch.teach.score_maps import ScoreMaps
from linewatch.teach.thumbnails import Thumbnails
from linewatch.teach_settings import TeachSettings
from linewatch.web.study.study_backend import StudyBackend
from linewatch.web.teach.teach_backend import TeachBackend

TOKEN = "a-long-random-token"
BEARER = {"Authorization": f"Bearer {TOKEN}"}


def png(height: int = 64, width: int = 64) -> bytes:
    """Return a grey image as PNG."""
    return cv2.imencode(".png", np.full((height, width, 3), 90, np.uint8))[1].tobytes()


def upload(data: bytes, product: str = "bottle", name: str = "part.png") -> dict[str, Any]:
    """Return the arguments of a test client's `post` for an upload."""
    return {"data": {"image": (BytesIO(data), name), "product": product}}


def sign_in(client: FlaskClient) -> FlaskClient:
    """Sign in with the form, as a browser does."""
    assert client.post("/sign-in", data={"token": TOKEN, "then": "/review"}).status_code == 303
    return client


def error_sentence(response: TestResponse) -> str:
    """Return the one sentence of an API error."""
    body = response.get_json()
    assert list(body) == ["error"], body
    return str(body["error"])


# Werkzeug leaves the file or buffer of a refused form to the garbage collector, which closes it at once.
LEFT_TO_COLLECTOR = [
    pytest.mark.filterwarnings("ignore:Unclosed file <tempfile.SpooledTemporaryFile:ResourceWarning"),
    pytest.mark.filterwarnings(
        "ignore:Exception ignored in. <(_io.FileIO|tempfile.Spooled):pytest.PytestUnraisableExceptionWarning"
    ),
]

OPENED: list[Thumbnails | ScoreMaps] = []
"""What may have processes; `conftest` ends them after each test."""


def teaching_in(folder: Path, **more: Any) -> TeachBackend:
    """Return what teaches without a line, on folders below `folder`; learning is a process that waits."""
    settings = Settings(
        teach=TeachSettings(path=folder / "datasets", nice=0),
        models=ModelsSettings(path=folder / "models", recipes=folder / "recipes"),
        journal=JournalSettings(path=folder / "journal.db"),
        evidence=EvidenceSettings(path=folder / "evidence"),
    )
    datasets = Datasets(settings.teach)
    command = (sys.executable, "-c", "import signal; signal.alarm(10); signal.pause()")
    learning = Learning(settings, datasets, command=command)
    thumbnails, maps = Thumbnails(datasets), ScoreMaps(datasets, settings.models)
    OPENED.extend((thumbnails, maps))
    return TeachBackend(settings, datasets, thumbnails, maps, learning, **more)


def studies_in(folder: Path, journal: Journal, **more: Any) -> StudyBackend:
    """Return studies in a folder, of a line with the product and model of `fakes.verdict`."""
    settings = Settings(
        study=StudySettings(path=folder / "studies"),
        models=ModelsSettings(path=folder / "models", recipes=folder / "recipes"),
        journal=JournalSettings(path=folder / "journal.db"),
        trigger=TriggerSettings(mode="mqtt"),
    )
    more.setdefault("on_line", lambda: ("bottle", "7f3a91c2"))
    return StudyBackend(settings, journal, **more)


PASSWORD = "a good long phrase"


def people_with(*roles: Role) -> People:
    """Return people in memory with one user for each role, named after it."""
    people = People()
    for role in roles or tuple(Role):
        people.add_user(role.value, PASSWORD, role, "test")
    return people


def sign_in_as(client: FlaskClient, user: str, password: str = PASSWORD) -> FlaskClient:
    """Sign in with name and password; the client then says, as browsers do, where its requests are from."""
    client.environ_base["HTTP_SEC_FETCH_SITE"] = "same-origin"
    answer = client.post("/sign-in", data={"user": user, "password": password, "then": "/review"})
    assert answer.status_code == 303, answer.text
    return client
