"""Change between two products while frames arrive, and verify product and score of each verdict."""

import json
import shutil
import sqlite3
import statistics
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2

from linewatch.acquisition.sources.folder import find_images
from linewatch.domain import Result
from linewatch.errors import NotRegistered
from linewatch.models.engine import OpenVinoEngine
from linewatch.models.loader import build_scorer
from linewatch.models.recipe_file import load_recipe, products
from linewatch.settings import ModelsSettings
from linewatch.vision.image_io import read_image
from tests.bundles import models_in, part, teach
from tests.chaos.findings import Finding
from tests.daemon import Daemon
from tests.mosquitto import Mosquitto, ReceivedMessage, Subscriber

IN_TRANSIT_S = 0.05  # A PASS received this soon after the command may have been sent before it.
RAW_TOLERANCE = 1e-3
COLD_S_MAX, RESIDENT_S_MAX = 1.5, 0.1


@dataclass(frozen=True, slots=True)
class Change:
    """One changeover from the PLC's side; times are monotonic seconds."""

    product: str
    asked_s: float
    answered_s: float
    answer: dict[str, Any]

    @property
    def took_s(self) -> float:
        """Return the time from command to reply."""
        return self.answered_s - self.asked_s


@dataclass(frozen=True, slots=True)
class Run:
    """The messages and journal rows of one run."""

    changes: list[Change]
    passes: list[tuple[float, dict[str, Any]]]  # Time of receipt, and the verdict.
    rows: list[dict[str, Any]]
    audited: int

    @property
    def median_s(self) -> float:
        """Return the median time from command to reply."""
        return statistics.median(change.took_s for change in self.changes)

    def during_changeover(self) -> list[dict[str, Any]]:
        """Return passes received between a command, allowing for transit, and its reply."""
        return [
            verdict
            for received_s, verdict in self.passes
            if any(change.asked_s + IN_TRANSIT_S < received_s < change.answered_s for change in self.changes)
        ]

    def of_wrong_product(self) -> list[dict[str, Any]]:
        """Return passes of another than the new product, received between a reply and the next command."""
        ends = [change.asked_s for change in self.changes[1:]] + [float("inf")]
        return [
            verdict
            for received_s, verdict in self.passes
            for change, end_s in zip(self.changes, ends, strict=True)
            if change.answered_s < received_s < end_s and verdict["product"] != change.product
        ]


def trial(options: Namespace, folder: Path, broker: Mosquitto) -> Iterator[Finding]:
    """Change product many times while frames arrive, without and with resident models."""
    if options.models:
        models = ModelsSettings(path=options.models, recipes=options.recipes)
        parts = gather(options.parts, folder / "parts")
    else:
        models, parts = simulated(folder)
    for kind, room, s_max in (
        ("cold", 0, COLD_S_MAX),
        ("resident", 10**9, RESIDENT_S_MAX),
    ):
        outcome = run(folder, broker, models, parts, changes=options.changes, resident_bytes_max=room)
        done = sum(change.answer["code"] == 0 for change in outcome.changes)
        yield Finding(
            kind,
            "every changeover is answered and audited",
            f"{done}, {outcome.audited - 1} audited",
            done == outcome.audited - 1 == options.changes,
        )
        broken = outcome.during_changeover() + outcome.of_wrong_product()
        yield Finding(
            kind,
            "no PASS between command and reply, none of another product after it",
            f"{len(broken)} of {len(outcome.passes)}",
            not broken,
        )
        compared, wrong = rescore(models, parts, outcome.rows)
        yield Finding(
            kind,
            "each verdict's score is that of the model it names",
            f"{wrong} of {compared} differ",
            compared > 0 and not wrong,
        )
        longest = max(change.took_s for change in outcome.changes)
        yield Finding(
            kind,
            f"command to reply: median within {s_max} s",
            f"median {outcome.median_s:.3f} s, longest {longest:.3f} s",
            outcome.median_s < s_max,
            figure=True,
        )


def simulated(folder: Path) -> tuple[ModelsSettings, Path]:
    """Create two tiny products, each of which fails the other's parts; return models and parts."""
    models = models_in(folder)
    parts = folder / "parts"
    parts.mkdir(parents=True)
    for name, level in (("dark", 90), ("light", 130)):
        good = part() - 100 + level
        defective = good.copy()
        defective[16:24, 32:40] += 30
        teach(models, name, level=level, golden=[(good, Result.PASS, 0.0), (defective, Result.FAIL, 3.0)])
        for number in range(3):
            cv2.imwrite(str(parts / f"{number}-{name}.png"), good)
    return models, parts


def run(
    folder: Path,
    broker: Mosquitto,
    models: ModelsSettings,
    parts: Path,
    *,
    changes: int,
    resident_bytes_max: int,
) -> Run:
    """Change product `changes` times while frames arrive; return what was received."""
    names = list(products(models.recipes))[:2]
    place = folder / f"run-{resident_bytes_max}"
    place.mkdir()
    settings: dict[str, object] = {
        "station.product": names[0],
        "source.kind": "folder",
        "source.uri": parts,
        "source.loop": "true",
        "source.fps": 20,
        "models.path": models.path,
        "models.recipes": models.recipes,
        "models.resident_bytes_max": resident_bytes_max,
    }
    done: list[Change] = []
    with Subscriber(broker.port) as subscriber, Daemon(place, broker.port, settings) as daemon:
        subscriber.wait(lambda subscriber: len(_passes(subscriber.heard)) > 0, "a first PASS")
        for number in range(changes):
            product = names[(number + 1) % 2]
            rid = number + 1
            asked_s = time.monotonic()
            subscriber.say("t/cmd/product", json.dumps({"rid": rid, "product": product}))
            subscriber.wait(lambda subscriber: len(subscriber.on("t/cmd/product/res")) == rid, "the reply")  # noqa: B023 - used now
            reply = [message for message in subscriber.heard if message.topic == "t/cmd/product/res"][-1]
            done.append(Change(product, asked_s, reply.at_s, json.loads(reply.payload)))
            judged = len(subscriber.on("t/verdict")) + 5
            subscriber.wait(lambda subscriber: len(subscriber.on("t/verdict")) >= judged, "five parts")  # noqa: B023
        assert daemon.stop() == 0
        rows = daemon.rows()
        with sqlite3.connect(f"file:{place / 'journal.db'}?mode=ro", uri=True) as db:
            audited = db.execute("SELECT count(*) FROM audit WHERE action = 'in_use'").fetchone()[0]
    return Run(done, _passes(subscriber.heard), rows, audited)


def rescore(models: ModelsSettings, parts: Path, rows: list[dict[str, Any]]) -> tuple[int, int]:
    """Score each judged image again with the model that its verdict names.

    Returns how many verdicts were compared, and how many have a different score.
    """
    scorers = {}
    for product in products(models.recipes):
        recipe, bundle = load_recipe(models.recipes, product, models.path)
        scorers[product, bundle.version] = build_scorer(bundle, OpenVinoEngine(bundle.graph)), recipe
    known: dict[tuple[str, str, str], float] = {}
    compared = wrong = 0
    for row in rows:
        if row["result"] == "ERROR":
            continue
        scorer, recipe = scorers[row["product"], row["model"]]
        key = row["product"], row["model"], row["part"]
        if key not in known:
            try:
                known[key] = scorer.score(read_image(parts / row["part"]), recipe).raw
            except NotRegistered:
                known[key] = 0.0
        compared += 1
        wrong += not abs(known[key] - row["raw"]) <= RAW_TOLERANCE * max(1.0, known[key])
    return compared, wrong


def gather(folders: list[Path], into: Path, each: int = 6) -> Path:
    """Copy the first `each` images of several folders into one, interleaved by name."""
    into.mkdir()
    for number, folder in enumerate(folders):
        for path in find_images(folder)[:each]:
            shutil.copy(path, into / f"{path.stem}-{number}{path.suffix}")
    return into


def _passes(messages: list[ReceivedMessage]) -> list[tuple[float, dict[str, Any]]]:
    verdicts = [
        (message.at_s, json.loads(message.payload)) for message in messages if message.topic == "t/verdict"
    ]
    return [(at_s, verdict) for at_s, verdict in verdicts if verdict["result"] == "PASS"]
