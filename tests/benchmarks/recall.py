"""Recall over a million parts: time, memory, and whether a planted defect's time is named.

    python -m tests.benchmarks.recall [--parts 1000000] [--models models] [--out DIR]

Real signatures of simulated parts (`--real`, 0.5 % of them with the simulator's usual defects) are multiplied
to a million with a spread of their own; among two hours of them 40 parts have the same defect, which is so
weak that most pass. A photograph of a 41st part is what is looked for. Three defects: a fine scratch and a
shallow dent in one place, and a dent anywhere. Also measures what a row costs the line.
"""

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from linewatch.acquisition.sources.simulator import source
from linewatch.acquisition.sources.simulator.flaws import paint
from linewatch.acquisition.sources.simulator.source import DEFECTS, render
from linewatch.domain import Image, Result, Scored
from linewatch.models.engine import OpenVinoEngine
from linewatch.models.loader import build_scorer
from linewatch.models.recipe_file import load_recipe
from linewatch.storage.signatures import (
    DAY_MS,
    HEADER_BYTES,
    RESULTS,
    SignatureKind,
    SignatureStore,
    folder_of,
    signature_files,
)
from linewatch.vision.signature import Signature, summarise
from tests.fakes import verdict

PARTS_PER_S = 10
START_MS = 1_790_000_000_000 // DAY_MS * DAY_MS
PLANTED = 40
PLANTED_S = 7200
CHUNK = 50_000
SEED = 5


def photograph(number: int, defect: str, opacity: float, fixed: bool) -> Image:
    """Return a part with a defect of this opacity, in one place or anywhere."""
    layers = source._layers(320)
    rng = np.random.default_rng(4 if fixed else (SEED, number, 2))
    part = cv2.addWeighted(paint(layers, defect, rng), opacity, layers.part, 1 - opacity, 0)
    return source._photograph(layers, np.asarray(part, np.uint8), np.random.default_rng((SEED, number, 1)))


CASES = {
    "scratch, one place": ("scratch", 0.2, True),
    "dent, one place": ("dent", 0.35, True),
    "dent, anywhere": ("dent", 0.7, False),
}


class Scene:
    """A model, and the signatures of real parts by it."""

    def __init__(self, models: Path, recipes: Path, product: str = "demo") -> None:
        self.product = product
        self.recipe, self.bundle = load_recipe(recipes, product, models)
        self._scorer = build_scorer(self.bundle, OpenVinoEngine(self.bundle.graph, threads=1))

    def sign(self, images: Iterator[Image]) -> list[Signature]:
        """Return the signature of each image."""
        return [summarise(self._scorer.score(image, self.recipe)) for image in images]

    def kind(self, image: Image) -> SignatureKind:
        """Return the kind of the model's files."""
        one = summarise(self._scorer.score(image, self.recipe))
        return SignatureKind(self.product, self.bundle.version, len(one.embedding), len(one.local))

    def rows(self, signatures: Sequence[Signature]) -> NDArray[Any]:
        """Return the rows that the store writes for these parts."""
        with tempfile.TemporaryDirectory() as folder:
            store = SignatureStore(Path(folder))
            parts = [
                (
                    replace(
                        verdict(seq, Result.PASS if one.raw <= self.recipe.threshold else Result.FAIL),
                        product=self.product,
                        model=self.bundle.version,
                        threshold=self.recipe.threshold,
                    ),
                    one,
                )
                for seq, one in enumerate(signatures, 1)
            ]
            store.append(parts, START_MS)
            (file,) = signature_files(Path(folder), self.product)
            rows: NDArray[Any] = np.concatenate([*file.read()])
            return rows


def multiply(real: NDArray[Any], count: int, rng: np.random.Generator) -> NDArray[Any]:
    """Return `count` parts: each is a real one plus 0.3 of the difference of two others."""
    one, two, three = rng.integers(0, len(real), (3, count))
    rows: NDArray[Any] = real[one].copy()
    for name, low, high in (("embedding", -6e4, 6e4), ("local", -127, 127)):
        spread = 0.3 * (real[name][two].astype(np.float32) - real[name][three])
        rows[name] = np.clip(rows[name] + spread, low, high)
    jitter = rng.normal(0, 2, rows["cells"].shape)
    rows["cells"] = np.clip(rows["cells"] + jitter, 1, 255)
    return rows


def build(
    folder: Path, real: NDArray[Any], planted: NDArray[Any], parts: int, kind: SignatureKind
) -> tuple[int, int]:
    """Write the files of so many parts; return first and last exposure (UTC ms) of the planted ones."""
    store = SignatureStore(folder)
    folder.mkdir(parents=True)
    rng = np.random.default_rng(1)
    begin = parts * 2 // 3
    span = min(parts - begin, PLANTED_S * PARTS_PER_S)
    places = np.sort(rng.choice(span, len(planted), replace=False)) + begin
    for start in range(0, parts, CHUNK):
        rows = multiply(real, min(CHUNK, parts - start), rng)
        inside = (places >= start) & (places < start + len(rows))
        rows[places[inside] - start] = planted[inside]
        seqs = np.arange(start, start + len(rows))
        rows["seq"], rows["boot"], rows["captured_ms"] = seqs + 1, 1, START_MS + seqs * 1000 // PARTS_PER_S
        days = rows["captured_ms"] // DAY_MS
        for day in np.unique(days):
            date = time.strftime("%Y-%m-%d", time.gmtime(int(day) * DAY_MS / 1000))
            store._append(kind, rows[days == day].tobytes(), date)
    at = START_MS + places * 1000 // PARTS_PER_S
    return int(at[0]), int(at[-1])


def cost_of_a_row(rows: int = 2000) -> dict[str, float]:
    """Return what one part costs beside the line: microseconds of CPU time, and bytes."""
    maps = np.random.default_rng(0).random((32, 32), np.float32)
    vector = np.random.default_rng(0).standard_normal(176).astype(np.float32)
    scored = Scored(0.5, maps, np.eye(2, 3), embedding=vector, local=vector)
    with tempfile.TemporaryDirectory(dir=".") as folder:
        store = SignatureStore(Path(folder))
        began = time.process_time()
        for _ in range(rows // 100):
            store.append([(verdict(1), summarise(scored)) for _ in range(100)], START_MS)
        took = time.process_time() - began
        (file,) = signature_files(Path(folder), "bottle")
        size = (file.path.stat().st_size - HEADER_BYTES) / rows
    return {
        "us_per_row": round(1e6 * took / rows, 1),
        "bytes_per_row": size,
        "mb_per_day_at_10_per_s": size * 0.864,
    }


def main() -> None:
    """Print one JSON line per case."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--parts", type=int, default=1_000_000)
    parser.add_argument("--real", type=int, default=1500)
    parser.add_argument("--models", type=Path, default=Path("models"))
    parser.add_argument("--recipes", type=Path, default=Path("config/recipes"))
    parser.add_argument("--case", choices=CASES, action="append")
    arguments = parser.parse_args()
    print(json.dumps(cost_of_a_row()), flush=True)
    scene = Scene(arguments.models, arguments.recipes)
    usual = max(1, arguments.real // 200)
    real = scene.rows(
        scene.sign(
            render(SEED, n, DEFECTS[n % len(DEFECTS)] if n < usual else None) for n in range(arguments.real)
        )
    )
    for name in arguments.case or CASES:
        images = [photograph(100_000 + n, *CASES[name]) for n in range(PLANTED + 1)]
        planted = scene.rows(scene.sign(iter(images[1:])))
        with tempfile.TemporaryDirectory(prefix="linewatch-recall-", dir=".") as folder:
            home = Path(folder)
            settings = home / "linewatch.toml"
            settings.write_text(
                f'[station]\nproduct = "demo"\n[journal]\npath = "{home}/journal.db"\n'
                f'[models]\npath = "{arguments.models}"\nrecipes = "{arguments.recipes}"\n'
            )
            cv2.imwrite(str(home / "like.png"), images[0])
            kind = scene.kind(images[0])
            times = build(folder_of(home / "journal.db"), real, planted, arguments.parts, kind)
            print(json.dumps({"case": name, **ask(settings, home / "like.png", times, planted)}), flush=True)


def ask(settings: Path, like: Path, times: tuple[int, int], planted: NDArray[Any]) -> dict[str, Any]:
    """Run the command as its user would; return what it took and found."""
    command = [sys.executable, "-m", "linewatch", "recall", "--json"]
    began = time.perf_counter()
    done = subprocess.run(
        [*command, "--config", str(settings), "--like", str(like)], check=True, capture_output=True
    )
    took = time.perf_counter() - began
    answer = json.loads(done.stdout)
    window = next(iter(answer["windows"]), None)
    return {
        "parts": answer["compared"],
        "seconds": round(took, 2),
        "peak_mb": resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024,
        "planted": len(planted),
        "planted_passed": sum(RESULTS[row["result"]] is Result.PASS for row in planted),
        "view": answer["similar_in"],
        "windows": len(answer["windows"]),
        "found": window["similar"] if window else 0,
        "elsewhere": window["elsewhere"] if window else 0,
        "begins_off_s": round((window["first_ms"] - times[0]) / 1000) if window else None,
        "ends_off_s": round((window["last_ms"] - times[1]) / 1000) if window else None,
        "p": window["p"] if window else None,
    }


if __name__ == "__main__":
    main()
