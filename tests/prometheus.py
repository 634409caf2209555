"""The real Prometheus for tests, with the configuration that is shipped: its own port, its own folder."""

import json
import shutil
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.mosquitto import free_port

SHIPPED = Path(__file__).parent.parent / "config/prometheus"
WAIT_S = 60.0


class Prometheus:
    """A server that scrapes `stations`, {"station1": "127.0.0.1:8080"}, every second while inside `with`."""

    def __init__(self, folder: Path, stations: Mapping[str, str]) -> None:
        self._folder = folder / "prometheus"
        shutil.copytree(SHIPPED, self._folder)
        config = self._folder / "prometheus.yml"
        config.write_text(config.read_text().replace("interval: 15s", "interval: 1s"))
        rules = self._folder / "rules.yml"
        rules.write_text(rules.read_text().replace("interval: 30s", "interval: 1s"))
        (self._folder / "stations.yml").write_text(
            "".join(
                f'- targets: ["{address}"]\n  labels: {{ station: {name} }}\n'
                for name, address in stations.items()
            )
        )
        self._address = f"127.0.0.1:{free_port()}"

    def __enter__(self) -> Self:
        with (self._folder / "log").open("wb") as log:
            self._process = subprocess.Popen(
                [
                    "prometheus",
                    f"--config.file={self._folder}/prometheus.yml",
                    f"--storage.tsdb.path={self._folder}/data",
                    f"--web.listen-address={self._address}",
                ],
                stdout=log,
                stderr=log,
            )
        self.wait(lambda: not self._is_ready())
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()

    def ask(self, path: str, **parameters: str) -> Any:
        """Return the data of one call of its API. An expression that it does not understand raises."""
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"http://{self._address}/api/v1/{path}?{query}", timeout=10) as answer:
            return json.loads(answer.read())["data"]

    def values(self, expression: str) -> list[float]:
        """Return the value of every series that an expression gives now."""
        return [float(series["value"][1]) for series in self.ask("query", query=expression)["result"]]

    def wait(self, missing: Callable[[], object]) -> None:
        """Wait until nothing is missing any more."""
        until = time.monotonic() + WAIT_S
        while still := missing():
            assert self._process.poll() is None, (self._folder / "log").read_text()[-2000:]
            assert time.monotonic() < until, f"after {WAIT_S:.0f} s still missing: {still}"
            time.sleep(0.1)

    def _is_ready(self) -> bool:
        try:
            with urllib.request.urlopen(f"http://{self._address}/-/ready", timeout=10):
                return True
        except (urllib.error.URLError, ConnectionError):
            return False
