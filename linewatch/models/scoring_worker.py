"""Judge uploaded images in a separate process of idle priority.

Uploads are untrusted bytes. Decoding and scoring them takes CPU time, and a decoder that crashes ends its
process: neither may affect the line.
"""

import json
import logging
import math
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import asdict
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

import cv2

from linewatch.domain import Image, Reason, Result, Verdict
from linewatch.errors import ImageError, ImageTooLarge, LinewatchError, RecipeError
from linewatch.models.judge_file import judge_image
from linewatch.models.loader import Prepared, prepare
from linewatch.models.recipe_file import load_recipe
from linewatch.models.reference_embeddings import ReferenceEmbeddings
from linewatch.settings import ModelsSettings
from linewatch.vision.heatmap import draw_heatmap
from linewatch.vision.image_io import decode, shrink_to
from linewatch.vision.libjpeg_warnings import undiverted

log = logging.getLogger(__name__)

TIMEOUT_S = 20.0  # For one verdict; the first one includes loading the model.
IDLE_S = 120.0  # The process ends after this time without an image, to free its memory.
END_S = 5.0
PAUSE_S_MAX = 2.0
BESIDE_A_LINE = 0.05  # Share of the time in a daemon: 95 of 100 parts are not slowed down.
SHOWN_SIDE_PX = 1600  # Heatmaps and images are shrunk to this for display.
UPLOAD = "upload"  # The name in error sentences; the user's file name is not trusted.
# Set before the imports, so that the threads of the libraries inherit it.
_PROGRAM = """
import os
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
from linewatch.models.scoring_worker import main
main()
"""
_PREFIX = str(ImageError(UPLOAD, ""))

_KINDS: dict[str, tuple[type[LinewatchError], Callable[[str], LinewatchError]]] = {
    "too_large": (ImageTooLarge, partial(ImageTooLarge, UPLOAD)),
    "picture": (ImageError, partial(ImageError, UPLOAD)),
    "recipe": (RecipeError, RecipeError),
    "other": (LinewatchError, LinewatchError),
}
"""Error kinds in the protocol, the most specific class first, and how to raise them in this process."""


class ScoringWorker:
    """Judges one image at a time; any thread may call. Leaving the `with` block ends its process.

    `share` limits the share of the time that it works, 0 to 1: cores share caches and memory bandwidth, so
    even a process of idle priority slows the line down. It pauses accordingly after each image, at most 2 s.
    A verdict that takes longer than `timeout_s` is given up.
    """

    def __init__(
        self, models: ModelsSettings, station: str, *, share: float = 1.0, timeout_s: float = TIMEOUT_S
    ) -> None:
        arguments = {
            "models": {"path": str(models.path), "recipes": str(models.recipes), "threads": models.threads},
            "station": station,
        }
        self._command = [sys.executable, "-c", _PROGRAM, json.dumps(arguments)]
        self._timeout_s = timeout_s
        self._pause_ratio = (1 - share) / share
        self._pause_ends_s = -math.inf
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._aborted = threading.Event()
        self._idle: threading.Timer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """Id of the process that judges; None while there is none."""
        process = self._process
        return None if process is None else process.pid

    def inspect(self, product: str, data: bytes, version: str = "") -> tuple[Verdict, bytes]:
        """Return the verdict on an encoded image and its heatmap as JPEG, b"" if nothing was scored.

        `version` overrides the recipe's model. Raises ImageError if the data is not an image, ImageTooLarge,
        RecipeError if the product cannot be prepared or its recipe does not fit the image, and
        LinewatchError after the timeout.
        """
        verdict, heatmap, _ = self._judge({"product": product, "version": version}, data)
        return verdict, heatmap

    def inspect_and_show(self, product: str, data: bytes) -> tuple[Verdict, bytes, bytes]:
        """Return what `inspect` returns, and the image itself as a JPEG that any browser can show.

        Raises what `inspect` raises.
        """
        return self._judge({"product": product, "version": "", "show": "yes"}, data)

    def _judge(self, question: dict[str, str], data: bytes) -> tuple[Verdict, bytes, bytes]:
        with self._lock:
            if self._idle is not None:
                self._idle.cancel()
            time.sleep(max(0.0, self._pause_ends_s - time.monotonic()))
            started_s = time.monotonic()
            try:
                answer, images = self._request(question, data)
            finally:
                ended_s = time.monotonic()
                self._pause_ends_s = ended_s + min(PAUSE_S_MAX, self._pause_ratio * (ended_s - started_s))
            self._idle = threading.Timer(IDLE_S, self.stop)
            self._idle.daemon = True
            self._idle.start()
        if "error" in answer:
            raise _KINDS[answer["error"]][1](answer["sentence"])
        size = answer["heatmap_bytes"]
        return _verdict(answer["verdict"]), images[:size], images[size:]

    def abort(self) -> None:
        """Kill the process for good; calls in progress and later ones raise LinewatchError."""
        self._aborted.set()
        process = self._process
        if process is not None:
            process.kill()

    def stop(self) -> None:
        """End the process; the next image starts another one."""
        with self._lock:
            if self._idle is not None:
                self._idle.cancel()
            self._stop()

    def _request(self, question: dict[str, str], data: bytes) -> tuple[dict[str, Any], bytes]:
        if self._aborted.is_set():
            raise LinewatchError("the picture is not judged: the station stops")
        if self._process is None:
            try:  # A session of its own: Ctrl+C in a terminal signals only the daemon.
                with undiverted:  # It inherits stderr.
                    self._process = subprocess.Popen(
                        self._command,
                        stdin=subprocess.PIPE,
                        stdout=subprocess.PIPE,
                        start_new_session=True,
                    )
            except OSError as error:  # No memory, no process id, or removed by an upgrade.
                raise LinewatchError(
                    f"the picture cannot be judged now: no process for it ({error.strerror}); try again later"
                ) from error
        process = self._process
        timed_out = threading.Event()

        def kill() -> None:
            timed_out.set()
            process.kill()

        timer = threading.Timer(self._timeout_s, kill)
        timer.start()
        try:
            assert process.stdin is not None and process.stdout is not None
            _send(process.stdin, question, data)
            return _receive(process.stdout)
        except (OSError, EOFError) as error:
            status = self._stop()
            log.warning("scoring_process_ended status=%d bytes=%d", status, len(data))
            if timed_out.is_set():
                raise LinewatchError(
                    f"no verdict after {self._timeout_s:g} s: the line needs the processor; try again later"
                ) from error
            if status < 0:  # Killed by a signal: the decoder crashed, or memory was short.
                raise ImageError(UPLOAD, "cannot be decoded here; save it again as PNG or JPEG") from error
            raise LinewatchError("the picture could not be judged; see the log of the station") from error
        finally:
            timer.cancel()

    def _stop(self) -> int:
        """End the process by closing its input, kill it after END_S, and return its exit status."""
        if self._process is None:
            return 0
        process, self._process = self._process, None
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with suppress(OSError):  # Unread input.
                pipe.close()
        try:
            return process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def main() -> None:
    """Judge the images on standard input and answer on standard output, until the input ends."""
    with suppress(OSError):  # When memory is short, this process is killed before the line.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    # What libraries print goes to the log, not among the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    arguments = json.loads(sys.argv[1])
    models = ModelsSettings(**arguments["models"])
    references = ReferenceEmbeddings(models.path, models.recipes)
    others: tuple[tuple[str, str], ...] = ()
    prepared: Prepared | None = None
    while True:
        try:
            question, data = _receive(sys.stdin.buffer)
        except EOFError:
            return
        product, version = question["product"], question["version"]
        try:
            image = decode(data, UPLOAD)
            # Read every time: another version may have been activated since the last image.
            recipe, _ = load_recipe(models.recipes, product, models.path, version)
            current = references.list_others(product)
            if prepared is None or prepared.recipe != recipe or others != current:
                prepared, _ = prepare(product, models, version=version, references=references)
                others = current
            verdict, scored = judge_image(image, prepared.scorer, recipe, station=arguments["station"])
        except LinewatchError as trouble:
            _send(answers, {"error": _kind(trouble), "sentence": str(trouble).removeprefix(_PREFIX)})
            continue
        heat = b"" if scored is None else _jpeg(draw_heatmap(image, scored, recipe.threshold, SHOWN_SIDE_PX))
        shown = _jpeg(shrink_to(image, SHOWN_SIDE_PX)) if "show" in question else b""
        _send(answers, {"verdict": asdict(verdict), "heatmap_bytes": len(heat)}, heat + shown)


def _jpeg(image: Image) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()


def _send(pipe: IO[bytes], facts: dict[str, Any], data: bytes = b"") -> None:
    pipe.write(json.dumps(facts | {"bytes": len(data)}).encode() + b"\n")
    pipe.write(data)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """Read one message. Raises EOFError if the other process has ended."""
    line = pipe.readline()
    if not line.endswith(b"\n"):
        raise EOFError
    facts: dict[str, Any] = json.loads(line)
    data = pipe.read(facts["bytes"])
    if len(data) < facts["bytes"]:
        raise EOFError
    return facts, data


def _verdict(facts: dict[str, Any]) -> Verdict:
    x, y, width, height = facts["box"]
    typed = {
        "result": Result(facts["result"]),
        "reason": Reason(facts["reason"]),
        "box": (x, y, width, height),
    }
    return Verdict(**facts | typed)


def _kind(trouble: LinewatchError) -> str:
    """Return the most specific kind of an error in `_KINDS`."""
    return next(name for name, (error, _) in _KINDS.items() if isinstance(trouble, error))
