"""Train and evaluate every product below a folder, with seeds and ablations, and print the table.

    python -m tests.benchmarks.products ../shared/data [PRODUCT ...] [--seeds 0 1 2]
        [--ablations | --rules | --variants "pixel autoencoder" ...] [--simulated 24 60] [--json FILE]

A product is a folder with train/good, test/good and test/DEFECT. Nothing is tuned per product.
`--simulated N` adds the simulator's product, trained on N good images. `--rules` trains each product also
without each rule in RULES, and chooses for every product what is better on the others.
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
# Design, registration, foreground.
VARIANTS: dict[str, tuple[Design, str, str]] = {
    WHOLE: (Design(), "auto", "auto"),
    "one covariance for all places": (replace(Design(), whitening="global"), "auto", "auto"),
    "plain squared error": (replace(Design(), whitening="none"), "auto", "auto"),
    "statistics without autoencoder": (replace(Design(), autoencoder=False), "auto", "auto"),
    "without registration": (Design(), "off", "auto"),
    "background inspected, too": (Design(), "auto", "off"),
    "rim not damped": (replace(Design(), damp_rim=False), "auto", "auto"),
    "background and rim": (replace(Design(), damp_rim=False), "auto", "off"),
    "without gain": (replace(Design(), gain=False), "auto", "auto"),
    "contrast as it is": (replace(Design(), contrast=False), "auto", "auto"),
    "no neighbouring cells": (replace(Design(), neighbours=False), "auto", "auto"),
    "pixel autoencoder": (PIXEL, "auto", "auto"),
}
RULES = (
    "background inspected, too",
    "rim not damped",
    "contrast as it is",
    "no neighbouring cells",
    "statistics without autoencoder",
)
"""Variants that lack one rule each; the rule must hold on products that had no part in choosing it."""


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
    defective: int
    image_auroc: float
    pb1: float  # Recall where 1 % of the good test images are rejected, in per cent.
    pb5: float
    pg2: float  # Good test images that pass where 2 % of the defects do, in per cent.
    masked: int  # Defective images with a mask,
    masked_found: int  # those above the threshold of a wanted 1 %,
    hits: float | None  # and the share of these whose largest box meets the mask.
    located: float | None  # Share of those with a mask that are above the threshold inside it.
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
    design, align, foreground = VARIANTS[variant]
    models, recipes = work / "models", work / "recipes"
    product = folder.name
    started = time.perf_counter()
    bundle = train(
        product,
        folder / "train" / "good",
        models,
        recipes,
        seed=seed,
        align=align,
        foreground=foreground,
        design=design,
    )
    train_s = time.perf_counter() - started
    at_rate: dict[str, dict[str, Any]] = {}
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
        metrics = at_rate[wanted] = evaluate(product, folder, models, recipes).metrics
        rejected[wanted], bound[wanted] = metrics["false_reject_rate"], stated.bound
        recall[wanted] = metrics["recall"]
    metrics = at_rate[RATES[0]]
    return Row(
        product=product,
        variant=variant,
        seed=seed,
        images=bundle.training["images"],
        train_s=train_s,
        bundle_mb=sum(path.stat().st_size for path in bundle.folder.rglob("*")) / 1e6,
        good=metrics["images_good"],
        defective=metrics["images"] - metrics["images_good"],
        image_auroc=metrics["image_auroc"],
        pb1=metrics["pb1"],
        pb5=metrics["pb5"],
        pg2=metrics["pg2"],
        masked=metrics["images_masked"],
        masked_found=metrics["masked_found"],
        hits=metrics["hits"],
        located=metrics["located"],
        pixel_auroc=metrics["pixel_auroc"],
        rejected=rejected,
        bound=bound,
        recall=recall,
    )


def table(rows: Sequence[Row]) -> str:
    """Return the rows as Markdown, seeds averaged, with the mean over products below."""
    lines = [
        "| variant | product | image AUROC | PB1 / PB5 / PG2 | hits of found of masked; located "
        "| pixel AUROC | wanted 1 %: good rejected, defects found | wanted 5 % | train s | MB |",
        "|---|---|---|---|---|---|---|---|---|---|",
    ]
    for variant in dict.fromkeys(row.variant for row in rows):
        mine = [row for row in rows if row.variant == variant]
        names = list(dict.fromkeys(row.product for row in mine))
        lines += [_line(name, [row for row in mine if row.product == name]) for name in names]
        if len(names) > 1:
            auroc, pb1, pb5, pg2 = (
                _mean_over_products(mine, figure) for figure in ("image_auroc", "pb1", "pb5", "pg2")
            )
            lines.append(
                f"| **{variant}** | **mean of {len(names)}** | **{auroc:.2f}** "
                f"| **{pb1:.1f} / {pb5:.1f} / {pg2:.1f}** | | | | | | |"
            )
    return "\n".join(lines)


def rules_table(rows: Sequence[Row]) -> str:
    """Return as Markdown whether each rule holds on products that had no part in choosing it.

    For each product the rule is kept if the mean image AUROC of the *others* is higher with it. A
    difference below the standard error of the AUROC (Hanley and McNeil 1982) is chance.
    """
    lines = [
        "| rule left out | product | with | without | difference | chosen on the others |",
        "|" + "---|" * 6,
    ]
    base = {row.product: row for row in rows if row.variant == WHOLE}
    for rule in RULES:
        other = {row.product: row for row in rows if row.variant == rule}
        gains = {name: base[name].image_auroc - other[name].image_auroc for name in base if name in other}
        for name, gain in gains.items():
            rest = float(np.mean([value for key, value in gains.items() if key != name]))
            error = 100 * _auroc_error(base[name])
            verdict = "chance" if abs(gain) <= error else "hurts" if gain < 0 else "helps"
            choice = "with" if rest >= 0 else "without"
            lines.append(
                f"| {rule} | {name} | {base[name].image_auroc:.2f} | {other[name].image_auroc:.2f} "
                f"| {gain:+.2f} ({verdict}, error {error:.2f}) | {choice} ({rest:+.2f}) |"
            )
    return "\n".join(lines)


def _auroc_error(row: Row) -> float:
    """Return the standard error of an AUROC, 0 to 1."""
    area, good, bad = row.image_auroc / 100, row.good, row.defective
    both_bad, both_good = area / (2 - area), 2 * area**2 / (1 + area)
    spread = area * (1 - area) + (bad - 1) * (both_bad - area**2) + (good - 1) * (both_good - area**2)
    return float(np.sqrt(max(spread, 0.0) / (good * bad)))


def _mean_over_products(rows: Sequence[Row], figure: str) -> float:
    names = dict.fromkeys(row.product for row in rows)
    return float(
        np.mean([np.mean([getattr(row, figure) for row in rows if row.product == name]) for name in names])
    )


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
        " / ".join(f"{np.mean([getattr(row, key) for row in rows]):.1f}" for key in ("pb1", "pb5", "pg2")),
        _hits(rows),
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


def _hits(rows: Sequence[Row]) -> str:
    if not rows[0].masked:
        return "no masks"
    found = float(np.mean([row.masked_found for row in rows]))
    hits = float(np.mean([row.masked_found * (row.hits or 0.0) for row in rows]))
    located = float(np.mean([row.located or 0.0 for row in rows]))
    return f"{hits:.3g} of {found:.3g} of {rows[0].masked}; {located:.0%}"


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
    parser.add_argument(
        "--rules", action="store_true", help="leave each of RULES out, and choose by the others"
    )
    parser.add_argument("--json", type=Path, help="write every row here too")
    options = parser.parse_args()
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="linewatch-bench-") as simulated:
        folders = [
            *products(options.data, options.products),
            *(rendered(Path(simulated), count) for count in options.simulated),
        ]
        variants = [WHOLE, *RULES] if options.rules else options.variants
        for variant in VARIANTS if options.ablations else variants:
            for seed in options.seeds if variant == WHOLE else options.seeds[:1]:
                for folder in folders:
                    with tempfile.TemporaryDirectory(prefix="linewatch-bench-") as work:
                        rows.append(measure(folder, variant, seed, Path(work)))
                    print(rows[-1], file=sys.stderr, flush=True)
    print(table(rows))
    if options.rules or options.ablations:
        print("\n" + rules_table([row for row in rows if row.seed == options.seeds[0]]))
    memory_gb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e6
    print(f"\n{os.cpu_count()} processors, {memory_gb:.1f} GB at most")
    if options.json is not None:
        keys = Row.__slots__
        options.json.write_text(
            json.dumps([{key: getattr(row, key) for key in keys} for row in rows], indent=1)
        )


if __name__ == "__main__":
    main()
