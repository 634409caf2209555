"""Train and evaluate every product below a folder, with seeds and ablations, and print the table.

    python -m tests.benchmarks.products ../shared/data [PRODUCT ...] [--seeds 0 1 2]
        [--ablations | --variants "pixel autoencoder" ...] [--simulated 24 60] [--json FILE]

A product is a folder with train/good, test/good and test/DEFECT. Nothing is tuned per product.
`--simulated N` adds the simulator's product, trained on N good images.
"""

import argparse
import json
import os
import resource
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from linewatch.acquisition.sources.simulator.source import DEFECTS, render
from linewatch.training.calibrate import CONFIDENCE, binomial_cdf, calibrate
from linewatch.training.evaluate import evaluate
from linewatch.training.network.model import Design
from linewatch.training.train import PIXEL, train

WHOLE = "linewatch"
RATES = ("1%", "5%")  # Wanted shares of rejected good parts.
VARIANTS: dict[str, tuple[Design, str]] = {
    WHOLE: (Design(), "auto"),
    "one covariance for all places": (replace(Design(), whitening="global"), "auto"),
    "plain squared error": (replace(Design(), whitening="none"), "auto"),
    "statistics without autoencoder": (replace(Design(), autoencoder=False), "auto"),
    "without registration": (Design(), "off"),
    "without gain": (replace(Design(), gain=False), "auto"),
    "pixel autoencoder": (PIXEL, "auto"),
}


@dataclass(frozen=True, slots=True)
class Row:
    """One training and its evaluation; rates are shares 0 to 1, AUROC in per cent."""

    product: str
    variant: str
    seed: int
    images: int
    train_s: float
    bundle_mb: float
    good: int
    image_auroc: float
    pixel_auroc: float | None
    rejected: dict[str, float]  # Of unseen good images, by wanted rate.
    bound: dict[str, float]  # Upper confidence limit of that rate, by wanted rate.
    recall: dict[str, float]


def products(root: Path, names: Sequence[str]) -> Iterator[Path]:
    """Yield the folders that hold a product."""
    for folder in sorted(root.iterdir()):
        if (folder / "train" / "good").is_dir() and (not names or folder.name in names):
            yield folder


def rendered(root: Path, count: int) -> Path:
    """Render the simulator's product as such a folder, with 100 good test images and 25 of each defect."""
    folder = root / f"simulated{count}"
    parts: list[tuple[str, int, str | None, int]] = [
        ("train/good", 777, None, count),
        ("test/good", 888, None, 100),
    ]
    parts += [(f"test/{defect}", 999 + kind, defect, 25) for kind, defect in enumerate(DEFECTS)]
    for place, seed, defect, images in parts:
        (folder / place).mkdir(parents=True)
        for number in range(images):
            cv2.imwrite(str(folder / place / f"{number:04}.png"), render(seed, number, defect))
    return folder


def measure(folder: Path, variant: str, seed: int, work: Path) -> Row:
    """Train one variant of one product and evaluate it at 1 % and 5 %."""
    design, align = VARIANTS[variant]
    models, recipes = work / "models", work / "recipes"
    product = folder.name
    started = time.perf_counter()
    bundle = train(product, folder / "train" / "good", models, recipes, seed=seed, align=align, design=design)
    train_s = time.perf_counter() - started
    metrics: dict[str, Any] = {}
    rejected, bound, recall = {}, {}, {}
    recipe = recipes / f"{product}.toml"
    text = recipe.read_text(encoding="utf-8")
    for wanted in RATES:
        stated = calibrate(bundle.calibration.scores, float(wanted.rstrip("%")) / 100)
        assert stated.bound is not None
        recipe.write_text(
            f"{text}\nthreshold = {stated.threshold}\nunsure_threshold = {stated.unsure_threshold}\n",
            encoding="utf-8",
        )
        metrics = evaluate(product, folder, models, recipes).metrics
        rejected[wanted], bound[wanted] = metrics["false_reject_rate"], stated.bound
        recall[wanted] = metrics["recall"]
    return Row(
        product,
        variant,
        seed,
        bundle.training["images"],
        train_s,
        sum(path.stat().st_size for path in bundle.folder.rglob("*")) / 1e6,
        metrics["images_good"],
        metrics["image_auroc"],
        metrics["pixel_auroc"],
        rejected,
        bound,
        recall,
    )


def table(rows: Sequence[Row]) -> str:
    """Return the rows as Markdown, seeds averaged, with the mean over products below."""
    lines = [
        "| variant | product | image AUROC | pixel AUROC | wanted 1 %: good rejected, defects found "
        "| wanted 5 % | train s | MB |",
        "|---|---|---|---|---|---|---|---|",
    ]
    for variant in dict.fromkeys(row.variant for row in rows):
        mine = [row for row in rows if row.variant == variant]
        names = list(dict.fromkeys(row.product for row in mine))
        lines += [_line(name, [row for row in mine if row.product == name]) for name in names]
        if len(names) > 1:
            mean = np.mean([np.mean([r.image_auroc for r in mine if r.product == name]) for name in names])
            lines.append(f"| **{variant}** | **mean of {len(names)}** | **{mean:.2f}** | | | | | |")
    return "\n".join(lines)


def rejects_max(images: int, rate: float) -> int:
    """Return the most rejects among `images` that are plausible at `rate`, with the bound's confidence."""
    return next(count for count in range(images + 1) if binomial_cdf(count, images, rate) >= CONFIDENCE)


def _line(product: str, rows: Sequence[Row]) -> str:
    def spread(values: Sequence[float]) -> str:
        single = len(values) == 1 or np.ptp(values) < 0.005
        return f"{np.mean(values):.2f}" + ("" if single else f" ({min(values):.2f} to {max(values):.2f})")

    pixel = [row.pixel_auroc for row in rows if row.pixel_auroc is not None]
    cells = [
        rows[0].variant,
        f"{product} ({rows[0].images} good)",
        spread([row.image_auroc for row in rows]),
        spread(pixel) if pixel else "no masks",
    ]
    for wanted in RATES:
        good, stated = rows[0].good, float(np.mean([row.bound[wanted] for row in rows]))
        rejected = good * float(np.mean([row.rejected[wanted] for row in rows]))
        found = float(np.mean([row.recall[wanted] for row in rows]))
        limit = f"stated: below {stated:.1%}, so {rejects_max(good, stated)}"
        cells.append(f"{rejected:.3g} of {good} ({limit}), {found:.0%}")
    cells += [f"{np.mean([row.train_s for row in rows]):.0f}", f"{rows[0].bundle_mb:.1f}"]
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("products", nargs="*")
    parser.add_argument("--simulated", type=int, nargs="+", default=[], metavar="GOOD")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--variants", choices=VARIANTS, nargs="+", default=[WHOLE])
    parser.add_argument(
        "--ablations", action="store_true", help="every variant, the later ones with one seed"
    )
    parser.add_argument("--json", type=Path, help="write every row here too")
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="linewatch-bench-") as simulated:
        folders = [
            *products(options.data, options.products),
            *(rendered(Path(simulated), count) for count in options.simulated),
        ]
        for variant in VARIANTS if options.ablations else options.variants:
            for seed in options.seeds if variant == WHOLE else options.seeds[:1]:
                for folder in folders:
                    with tempfile.TemporaryDirectory(prefix="linewatch-bench-") as work:
                        rows.append(measure(folder, variant, seed, Path(work)))
                    print(rows[-1], file=sys.stderr, flush=True)
    print(table(rows))
    memory_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"\n{os.cpu_count()} processors, {memory_gb:.1f} GB at most")
    if options.json is not None:
        keys = Row.__slots__
        options.json.write_text(
            json.dumps([{key: getattr(row, key) for key in keys} for row in rows], indent=1)
        )


if __name__ == "__main__":
    main()
