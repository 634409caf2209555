"""A real headless Chromium, driven through its DevTools pipe: nothing to install but the browser."""

import base64
import json
import os
import shutil
import subprocess
import tempfile
import threading
from collections import deque
from importlib.resources import files
from pathlib import Path
from types import TracebackType
from typing import Any, Self

WAIT_S = 20.0
AXE = (files("axe_core_python") / "axe.min.js").read_text(encoding="utf-8")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Browser:
    """One page in one browser. `errors` collects console errors, refused resources and exceptions."""

    def __init__(self) -> None:
        self.errors: list[str] = []
        self.bytes_loaded = 0
        self._calls = 0
        self._session = ""
        self._messages: deque[dict[str, Any]] = deque()
        self._changed = threading.Condition()

    def __enter__(self) -> Self:
        assert CHROMIUM is not None
        self._profile = tempfile.TemporaryDirectory(ignore_cleanup_errors=True)
        commands_read, commands_write = os.pipe()
        answers_read, answers_write = os.pipe()

        # Chromium takes commands on descriptor 3 and answers on 4, NUL-terminated JSON both ways.
        script = f'exec "$0" "$@" 3<&{commands_read} 4>&{answers_write}'
        flags = [
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--hide-scrollbars",
            "--remote-debugging-pipe",
        ]
        self._process = subprocess.Popen(
            ["/bin/bash", "-c", script, CHROMIUM, *flags, f"--user-data-dir={self._profile.name}"],
            pass_fds=(commands_read, answers_write),
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.close(commands_read)
        os.close(answers_write)
        self._commands = os.fdopen(commands_write, "wb", buffering=0)
        self._answers = os.fdopen(answers_read, "rb", buffering=0)
        self._thread = threading.Thread(target=self._listen, name="browser", daemon=True)
        self._thread.start()
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Log", "Network", "DOM"):
            self.call(f"{domain}.enable")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._session = ""
        self.call("Browser.close")
        self._process.wait(WAIT_S)
        self._commands.close()
        self._thread.join(WAIT_S)
        self._answers.close()
        self._profile.cleanup()

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Send one command and return its result."""
        self._calls += 1
        number = self._calls
        message: dict[str, Any] = {"id": number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._commands.write(json.dumps(message).encode() + b"\0")
        answer = self._wait(lambda m: m.get("id") == number, method)
        assert "error" not in answer, f"{method}: {answer.get('error')}"
        result: dict[str, Any] = answer["result"]
        return result

    def look(self, width: int, height: int, *, dark: bool = False, phone: bool = False) -> None:
        """Choose the size of the page in CSS pixels and the colours the user prefers."""
        size = {"width": width, "height": height, "deviceScaleFactor": 1}
        self.call("Emulation.setDeviceMetricsOverride", **size, mobile=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])

    def open(self, address: str) -> None:
        """Go to an address and wait until it is loaded."""
        self.bytes_loaded = 0
        with self._changed:
            self._messages.clear()
        self.call("Page.navigate", url=address)
        self._loaded()

    def submit(self, selector: str) -> None:
        """Click what sends a form or follows a link, and wait for the page that comes."""
        with self._changed:
            self._messages.clear()
        self.ask(f"document.querySelector({selector!r}).click()")
        self._loaded()

    def ask(self, expression: str) -> Any:
        """Return the value of a JavaScript expression in the page; a promise is waited for."""
        how = {"returnByValue": True, "awaitPromise": True, "timeout": WAIT_S * 1000}
        result = self.call("Runtime.evaluate", expression=expression, **how)
        assert "exceptionDetails" not in result, result
        return result["result"].get("value")

    def wait_for(self, expression: str) -> None:
        """Wait until an expression holds in the page."""
        found = self.ask(
            "new Promise((done) => { const end = performance.now() + 15000; const look = () => "
            f"({expression}) ? done(true) : performance.now() > end ? done(false) "
            ": setTimeout(look, 50); look(); })"
        )
        assert found, f"never came true: {expression}"

    def barriers(self) -> list[str]:
        """Return what axe finds that keeps people from using this page, minor matters included."""
        self.ask(f"{AXE}; null")
        return [
            f"{fault['impact']} {fault['id']}: {[node['html'] for node in fault['nodes']]}"
            for fault in self.ask("axe.run()")["violations"]
        ]

    def offline(self, cut: bool) -> None:
        """Cut the network, or give it back."""
        unlimited = {"latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
        self.call("Network.emulateNetworkConditions", offline=cut, **unlimited)

    def choose_file(self, selector: str, path: Path) -> None:
        """Put a file into a file input, as the file dialog would."""
        root = self.call("DOM.getDocument")["root"]["nodeId"]
        node = self.call("DOM.querySelector", nodeId=root, selector=selector)["nodeId"]
        self.call("DOM.setFileInputFiles", nodeId=node, files=[str(path)])

    def screenshot(self, path: Path, *, whole_page: bool = False) -> None:
        """Save what is shown as PNG."""
        shot = self.call("Page.captureScreenshot", format="png", captureBeyondViewport=whole_page)
        path.write_bytes(base64.b64decode(shot["data"]))

    def _loaded(self) -> None:
        self._wait(lambda m: m.get("method") == "Page.loadEventFired", "page load")

    def _wait(self, wanted: Any, what: str) -> dict[str, Any]:
        def take() -> dict[str, Any] | None:
            for message in self._messages:
                if wanted(message):
                    self._messages.remove(message)
                    return message
            return None

        with self._changed:
            found = self._changed.wait_for(take, WAIT_S)
        assert found, f"no answer from the browser: {what}"
        return found

    def _listen(self) -> None:
        rest = b""
        while data := self._answers.read(65536):
            *whole, rest = (rest + data).split(b"\0")
            for text in whole:
                message = json.loads(text)
                self._note(message)
                with self._changed:
                    self._messages.append(message)
                    self._changed.notify_all()

    def _note(self, message: dict[str, Any]) -> None:
        facts = message.get("params", {})
        match message.get("method"):
            case "Runtime.exceptionThrown":
                self.errors.append(str(facts["exceptionDetails"]))
            case "Log.entryAdded" if facts["entry"]["level"] in ("error", "warning"):
                self.errors.append(f"{facts['entry']['text']} {facts['entry'].get('url', '')}")
            case "Runtime.consoleAPICalled" if facts["type"] in ("error", "warning"):
                self.errors.append(str(facts["args"]))
            case "Network.loadingFinished":
                self.bytes_loaded += int(facts["encodedDataLength"])
