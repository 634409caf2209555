"""A real Node-RED with a flow that is imported over its admin API."""

import json
import socket
import subprocess
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from tests.mosquitto import free_port
from tests.npm import node_and_package

START_S = 60.0  # It loads a hundred packages, on a busy machine.
SETTINGS = """module.exports = {
    uiHost: "127.0.0.1", uiPort: %d, flowFile: "flows.json", credentialSecret: false,
    telemetry: {enabled: false, updateNotification: false},
    externalModules: {autoInstall: false, palette: {allowInstall: false}},
    logging: {console: {level: "info", metrics: false, audit: false}},
};"""


class NodeRed:
    """Node-RED in a folder of its own; starts on entering. Skips the test where it is not installed."""

    def __init__(self, folder: Path) -> None:
        node, package = node_and_package("node-red")
        self._port = free_port()
        self._log = folder / "node-red.log"
        settings = folder / "settings.js"
        settings.write_text(SETTINGS % self._port)
        self._command = [node, str(package / "red.js"), "--userDir", str(folder), "--settings", str(settings)]

    def __enter__(self) -> Self:
        with self._log.open("wb") as log:
            self._process = subprocess.Popen(self._command, stdout=log, stderr=log)
        until_s = time.monotonic() + START_S
        while True:
            try:
                socket.create_connection(("127.0.0.1", self._port), timeout=1).close()
            except ConnectionRefusedError:
                assert self._process.poll() is None, self.log
                assert time.monotonic() < until_s, self.log
                time.sleep(0.05)
            else:
                return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.wait()
        if error is not None:
            print(self.log[-4000:])

    @property
    def log(self) -> str:
        """Everything it printed."""
        return self._log.read_text()

    def deploy(self, flow: list[dict[str, Any]]) -> None:
        """Replace all flows by this one, as Import and Deploy do in the editor."""
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/flows",
            json.dumps(flow).encode(),
            {"Content-Type": "application/json", "Node-RED-Deployment-Type": "full"},
        )
        until_s = time.monotonic() + START_S
        while True:
            try:
                urllib.request.urlopen(request, timeout=START_S).close()
            except urllib.error.HTTPError as error:  # Its API is there later than its page.
                assert error.code == 404 and time.monotonic() < until_s, error
                time.sleep(0.05)
            else:
                return
