"""Compare the scorer's inference time with the bare backbone and with other anomaly detectors.

    python -m tests.benchmarks.scorer_time models/demo/VERSION/scorer.xml [--rivals DIR]

`DIR` holds the other graphs (NAME.xml), written by `rivals.py` in its own environment. All run in
OpenVINO with the same options, one image at a time. They take turns, so that other load on the machine
affects all alike. A turn is five images; the first, with cold caches, is not counted, as a line runs
one model only.
"""

import argparse
import os
import time
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov

from linewatch.training.network.backbone import build_backbone
from linewatch.training.network.export import convert_to_openvino

TURN = 5  # Images.
OURS, BARE = "linewatch scorer", "bare backbone"


def request(graph: Any, threads: int) -> Any:
    """Return an inference request with the options of the line's engine."""
    options = {
        "PERFORMANCE_HINT": "LATENCY",
        "NUM_STREAMS": 1,
        "INFERENCE_PRECISION_HINT": "f32",
        "INFERENCE_NUM_THREADS": threads,
    }
    return ov.Core().compile_model(graph, "CPU", options).create_infer_request()


def noise_image(graph: Any) -> Any:
    """Return noise of the graph's input shape and type."""
    inlet = graph.input(0)
    noise = np.random.default_rng(0).random(
        [size.get_length() if size.is_static else 1 for size in inlet.partial_shape]
    )
    return (255 * noise).astype(np.uint8) if inlet.element_type == ov.Type.u8 else noise.astype(np.float32)


def measure(graphs: dict[str, Any], threads: int, rounds: int) -> dict[str, float]:
    """Return the median inference time of each graph in ms, measured in turns."""
    runs = {name: (request(graph, threads), noise_image(graph)) for name, graph in graphs.items()}
    took: dict[str, list[float]] = {name: [] for name in runs}
    for _ in range(rounds):
        for name, (run, image) in runs.items():
            for number in range(TURN):
                started = time.perf_counter()
                run.infer([image], share_inputs=True)
                if number > 0:
                    took[name].append(1000 * (time.perf_counter() - started))
    return {name: float(np.median(values)) for name, values in took.items()}


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("scorer", type=Path)
    parser.add_argument("--rivals", type=Path)
    parser.add_argument("--rounds", type=int, default=15)
    options = parser.parse_args()
    core = ov.Core()
    ours = core.read_model(options.scorer)
    height, width = (int(side) for side in ours.input(0).shape[1:3])
    graphs = {OURS: ours, BARE: convert_to_openvino(build_backbone(height, width), np.float32)}
    for path in sorted(options.rivals.glob("*.xml")) if options.rivals else []:
        graphs[path.stem] = core.read_model(path)
    print(f"input {height}x{width}, {os.cpu_count()} processors, openvino {ov.__version__}\n")
    print("| threads | graph | median ms | scorer takes |\n|---|---|---|---|")
    for threads in (1, 2):
        for name, ms in (figures := measure(graphs, threads, options.rounds)).items():
            print(f"| {threads} | {name} | {ms:.1f} | {figures[OURS] / ms:.3f} of it |")


if __name__ == "__main__":
    main()
