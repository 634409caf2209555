"""Fault-injection trials of the daemon; prints tables of findings.

    python -m tests.chaos [outage kill disk overload camera changeover] [soak --minutes N]
        [--verdicts N] [--kills N] [--seconds S] [--changes N] [--seed N]
        [--models DIR --recipes DIR --parts DIR DIR]

Real daemon, real mosquitto, real disks, the demo product at full speed. Without a name it runs all
trials except the soak. Exit status 1: a guarantee was broken; 2: a figure was missed, as on a busy machine.
"""

import argparse
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.chaos import camera, changeover, disk, kill, outage, overload, soak
from tests.chaos.findings import Finding, show
from tests.mosquitto import Mosquitto

Trial = Callable[[argparse.Namespace, Path, Mosquitto], Iterator[Finding]]

TRIALS: dict[str, Trial] = {
    "outage": outage.trial,
    "kill": kill.trial,
    "disk": disk.trial,
    "overload": overload.trial,
    "camera": camera.trial,
    "changeover": changeover.trial,
}


def main() -> int:
    """Run the selected trials; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.chaos")
    parser.add_argument("trials", nargs="*", choices=[*TRIALS, "soak", []], default=list(TRIALS))
    parser.add_argument("--verdicts", type=int, default=5000, help="verdicts during the outage")
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seconds", type=float, default=60.0, help="duration of the overload")
    parser.add_argument("--megapixels", type=float, default=0.0, help="frame size of the overload; 0: small")
    parser.add_argument("--changes", type=int, default=50, help="number of product changes")
    parser.add_argument("--minutes", type=float, default=20.0, help="duration of the soak")
    parser.add_argument("--seed", type=int, default=0, help="seed of the times of the kills")
    parser.add_argument("--models", type=Path, help="models of two trained products, for changeover")
    parser.add_argument("--recipes", type=Path)
    parser.add_argument("--parts", type=Path, nargs="+", help="folders of images of both products")
    options = parser.parse_args()
    return show(_findings(options))


def _findings(options: argparse.Namespace) -> Iterator[Finding]:
    trials = TRIALS | {"soak": soak.trial}
    for name in options.trials:
        with _place() as (folder, broker):
            try:
                yield from trials[name](options, folder, broker)
            except Exception as error:  # noqa: BLE001 - findings so far are still shown
                yield Finding(name, "the trial runs to its end", repr(error), held=False)


@contextmanager
def _place() -> Iterator[tuple[Path, Mosquitto]]:
    with tempfile.TemporaryDirectory(prefix="linewatch-chaos-") as name:
        broker = Mosquitto(Path(name), "set_tcp_nodelay true")  # Else small messages wait up to 40 ms.
        broker.start()
        try:
            yield Path(name), broker
        finally:
            broker.stop()


if __name__ == "__main__":
    sys.exit(main())
