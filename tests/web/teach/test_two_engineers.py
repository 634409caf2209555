"""Two engineers who change the same product at the same moment."""

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest
from flask import Flask

from linewatch.errors import UsageError
from linewatch.models.bundle import active_version, previous_version, set_active
from linewatch.settings import ModelsSettings
from linewatch.teach.datasets import Datasets
from linewatch.teach_settings import TeachSettings
from linewatch.web.backend import ProductInfo
from tests.bundles import part, teach
from tests.fakes import FakeBackend
from tests.web.client import people_with, sign_in_as, teaching_in

ROUNDS = 8


@pytest.fixture
def together() -> Iterator[Callable[..., list[object]]]:
    """Return a function that runs functions at the same moment and returns what each returns."""
    with ThreadPoolExecutor(2) as pool:

        def run(*tasks: Callable[[], object]) -> list[object]:
            barrier = Barrier(len(tasks))

            def start(task: Callable[[], object]) -> object:
                barrier.wait()
                return task()

            return list(pool.map(start, tasks))

        yield run


def test_activating_two_versions_leaves_one_active_and_one_to_roll_back_to(
    tmp_path: Path, together: Callable[..., list[object]]
) -> None:
    """Whichever comes second; the audit names the same order."""
    models = ModelsSettings(path=tmp_path / "models", recipes=tmp_path / "recipes")
    versions = [
        teach(models, created=f"2026-11-2{day}T10:00:00+00:00", scores=(0.1 * day, 0.9)).version
        for day in (1, 2, 3)
    ]
    teaching = teaching_in(tmp_path)
    for _ in range(ROUNDS):
        set_active(models.path, "demo", versions[0])
        together(*(lambda v=v: teaching.activate("demo", v, f"by-{v}") for v in versions[1:]))

        active = active_version(models.path, "demo")
        last, first = teaching.audit("demo")[:2]
        assert {active, previous_version(models.path, "demo")} == set(versions[1:])
        assert (last.after, last.who) == (active, f"by-{active}")
        assert (first.before, first.after) == (versions[0], last.before)


def test_of_two_who_begin_to_learn_one_is_refused(
    make_app: Callable[..., Flask],
    backend: FakeBackend,
    tmp_path: Path,
    together: Callable[..., list[object]],
) -> None:
    """With the reason, whatever the product; the other one learns."""
    models = ModelsSettings(path=tmp_path / "models", recipes=tmp_path / "recipes")
    teach(models)
    datasets = Datasets(TeachSettings(path=tmp_path / "datasets"))
    for level in range(10):
        datasets.add("demo", "train/good", part(level))
    backend.product_infos = [ProductInfo("demo", 1, "", 0.0, 0.0)]
    teaching = teaching_in(tmp_path)
    app = make_app(people=people_with(), teaching=teaching)
    clients = [sign_in_as(app.test_client(), user) for user in ("engineer", "admin")]

    answers = together(
        *(lambda c=c: c.post("/teach/demo/learn", data={"percent": "1"}).status_code for c in clients)
    )

    assert sorted(map(int, map(str, answers))) == [303, 409]
    assert teaching.learning().running
    teaching.cancel_learning("test")
    with pytest.raises(UsageError, match="nothing is being learnt"):
        teaching.cancel_learning("test")
