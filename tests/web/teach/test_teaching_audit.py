"""Who did what while teaching: every action is in the audit with the name of who did it."""

from collections.abc import Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from flask import Flask

from linewatch.people.roles import Role
from linewatch.settings import ModelsSettings
from linewatch.teach.collector import Collector
from linewatch.teach.datasets import Datasets
from linewatch.teach.thumbnails import Thumbnails
from linewatch.teach_settings import TeachSettings
from linewatch.web.backend import ProductInfo
from linewatch.web.teach.teach_backend import TeachBackend
from tests.bundles import part, png, teach
from tests.fakes import FakeBackend, frame
from tests.web.client import people_with, sign_in_as, teaching_in


@pytest.fixture
def teaching(tmp_path: Path, backend: FakeBackend) -> TeachBackend:
    """Return what teaches beside a line that has delivered a frame, with ten good images of "demo"."""
    models = ModelsSettings(path=tmp_path / "models", recipes=tmp_path / "recipes")
    teach(models)
    datasets = Datasets(TeachSettings(path=tmp_path / "datasets"))
    for level in range(10):
        datasets.add("demo", "train/good", part(level))
    collector = Collector(datasets, Thumbnails(datasets))
    collector.offer(replace(frame(), image=part()))
    backend.product_infos = [ProductInfo("demo", 1, "", 0.0, 0.0), ProductInfo("cup", 2, "", 0.0, 0.0)]
    return teaching_in(tmp_path, collector=collector)


ACTIONS: list[tuple[str, dict[str, Any], str]] = [
    ("/teach", {"product": "cup"}, "product_begun"),
    ("/teach/demo/look", {"x": "0", "y": "0", "width": "40", "height": "40"}, "area_changed"),
    (
        "/teach/demo/regions",
        {"name": "a", "x": "0", "y": "0", "width": "40", "height": "40", "percent": "50"}
        | {"threshold": "", "smallest": ""},
        "regions_changed",
    ),
    ("/teach/demo/collect", {"action": "start", "place": "train/good", "count": "5"}, "collecting_begun"),
    ("/teach/demo/collect", {"action": "stop"}, "collecting_stopped"),
    ("/teach/demo/collect", {"action": "one", "place": "test/good"}, "image_taken"),
    ("/teach/demo/collect", {"action": "reviewed"}, "reviewed_parts_added"),
    ("/teach/demo/sort", {"place": "train/good", "name": "000001.png", "to": "left_out"}, "images_moved"),
    ("/teach/demo/learn", {"percent": "1", "detail": "coarse"}, "learning_begun"),
]


@pytest.mark.parametrize(("path", "form", "action"), ACTIONS, ids=[action for _, _, action in ACTIONS])
def test_an_action_is_audited_under_the_user_s_name(
    make_app: Callable[..., Flask], teaching: TeachBackend, path: str, form: dict[str, Any], action: str
) -> None:
    """With the product that it changed."""
    client = sign_in_as(make_app(people=people_with(), teaching=teaching).test_client(), "engineer")
    if action == "collecting_stopped":
        teaching.collect("demo", "train/good", 5, "test")

    answer = client.post(path, data=form)

    assert answer.status_code == 303, answer.text
    entry = teaching.audit(form.get("product", "demo"))[0]
    assert (entry.who, entry.action) == ("engineer", action)
    if action == "learning_begun":
        client.post("/teach/demo/learn", data={"action": "cancel"})
        assert teaching.audit("demo")[0].action == "learning_cancelled"


def test_uploading_and_deleting_are_audited_once_with_the_names(
    make_app: Callable[..., Flask], teaching: TeachBackend
) -> None:
    """One entry however many images, and none of a form that is refused."""
    client = sign_in_as(make_app(people=people_with(), teaching=teaching).test_client(), "engineer")
    files = [(BytesIO(png(part(level))), f"{level}.png") for level in (1, 2)]
    refused = (BytesIO(b"x"), "3.png")

    client.post("/teach/demo/collect", data={"action": "upload", "image": files})
    client.post("/teach/demo/collect", data={"action": "upload", "image": [refused]})
    client.post(
        "/teach/demo/sort", data={"place": "train/good", "name": ["1.png", "2.png"], "to": "left_out"}
    )
    client.post(
        "/teach/demo/sort", data={"place": "left_out", "name": ["1.png", "2.png"], "action": "remove"}
    )

    entries = [(entry.action, entry.before, entry.after, entry.why) for entry in teaching.audit("demo")]
    assert entries == [
        ("images_deleted", "left_out", "", "2 images: 1.png, 2.png"),
        ("images_moved", "train/good", "left_out", "2 images: 1.png, 2.png"),
        ("images_uploaded", "", "train/good", "2 images: 1.png, 2.png"),
    ]


@pytest.mark.parametrize(
    ("path", "body", "action"),
    [
        ("/api/teach/demo/collect", {"count": 3}, "collecting_begun"),
        ("/api/teach/demo/collect/stop", None, "collecting_stopped"),
        (
            "/api/teach/demo/move",
            {"place": "train/good", "names": ["000002.png"], "to": "left_out"},
            "images_moved",
        ),
    ],
)
def test_a_machine_is_audited_by_its_token_s_name(
    make_app: Callable[..., Flask], teaching: TeachBackend, path: str, body: object, action: str
) -> None:
    """The API does what the page does, under the name of the token."""
    people = people_with()
    token = people.add_token("mes", Role.ENGINEER, "test")
    client = make_app(people=people, teaching=teaching).test_client()
    if action == "collecting_stopped":
        teaching.collect("demo", "train/good", 5, "test")

    answer = client.post(path, json=body, headers={"Authorization": f"Bearer {token}"})

    assert answer.status_code == 200, answer.text
    entry = teaching.audit("demo")[0]
    assert (entry.who, entry.action) == ("token:mes", action)
