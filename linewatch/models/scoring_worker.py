"""Judge uploaded pictures in a process of their own, of lowest priority.

The page hands over bytes from anybody. Decoding and scoring them takes the processor for a while, and a
decoder that falls over takes its process with it: neither may touch the line.
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
from linewatch.models.judge_file import judge_picture
from linewatch.models.loader import Prepared, prepare
from linewatch.models.recipe_file import load_recipe
from linewatch.models.reference_embeddings import ReferenceEmbeddings
from linewatch.settings import ModelsSettings
from linewatch.vision.heatmap import draw_heatmap
from linewatch.vision.image_io import decode, shrink_to

log = logging.getLogger(__name__)

ASSESS_S = 20.0  # From the first picture, which waits for the model, to its verdict.
IDLE_S = 120.0  # Without a picture for this long the process ends and gives its memory back.
END_S = 5.0
PAUSE_S_MAX = 2.0
BESIDE_A_LINE = 0.05  # Share of the time: 95 parts of 100 have the machine to themselves.
SHOWN_SIDE_PX = 1600  # For people to look at: a 50 megapixel overlay would help nobody.
UPLOAD = "upload"  # Its own name, never the user's.
# First of all, so that every thread of the libraries stands back, too.
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
"""What can go wrong there, the particular before the general, and how to say it again here."""


class ScoringWorker:
    """Judges one picture at a time; any thread may call. Leaving the `with` block ends its process.

    `share` of the time is the most that it works, 0 to 1: cores share caches and more, so what it does
    slows the line down whatever its priority. After each picture it pauses accordingly, 2 s at most.
    """

    def __init__(self, models: ModelsSettings, station: str, *, share: float = 1.0) -> None:
        places = {
            "models": {"path": str(models.path), "recipes": str(models.recipes), "threads": models.threads},
            "station": station,
        }
        self._command = [sys.executable, "-c", _PROGRAM, json.dumps(places)]
        self._assess_s = ASSESS_S
        self._pause_ratio = (1 - share) / share
        self._pause_ends_s = -math.inf
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._over = threading.Event()
        self._idle: threading.Timer | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def inspect(self, product: str, data: bytes, version: str = "") -> tuple[Verdict, bytes]:
        """Return the verdict on an encoded picture, and its heatmap as JPEG, b"" when nothing was scored.

        `version` stands in for the model that the recipe asks for.
        Raises ImageError for what is no picture, ImageTooLarge, RecipeError when the product cannot be
        prepared or its recipe does not fit the picture, and LinewatchError when it takes too long.
        """
        verdict, heatmap, _ = self._assess({"product": product, "version": version}, data)
        return verdict, heatmap

    def show(self, product: str, data: bytes) -> tuple[Verdict, bytes, bytes]:
        """Return what `inspect` does, and the picture itself as a JPEG that any browser can show.

        Raises what `inspect` does.
        """
        return self._assess({"product": product, "version": "", "show": "yes"}, data)

    def _assess(self, question: dict[str, str], data: bytes) -> tuple[Verdict, bytes, bytes]:
        with self._lock:
            if self._idle is not None:
                self._idle.cancel()
            time.sleep(max(0.0, self._pause_ends_s - time.monotonic()))
            started_s = time.monotonic()
            try:
                answer, pictures = self._ask(question, data)
            finally:
                ended_s = time.monotonic()
                self._pause_ends_s = ended_s + min(PAUSE_S_MAX, self._pause_ratio * (ended_s - started_s))
            self._idle = threading.Timer(IDLE_S, self.end)
            self._idle.daemon = True
            self._idle.start()
        if "error" in answer:
            raise _KINDS[answer["error"]][1](answer["sentence"])
        drawn = answer["heatmap_bytes"]
        return _verdict(answer["verdict"]), pictures[:drawn], pictures[drawn:]

    def cut(self) -> None:
        """End the process at once and for good; who waits for it, or asks later, gets LinewatchError."""
        self._over.set()
        process = self._process
        if process is not None:
            process.kill()

    def end(self) -> None:
        """End the process; the next picture starts another."""
        with self._lock:
            if self._idle is not None:
                self._idle.cancel()
            self._end()

    def _ask(self, question: dict[str, str], data: bytes) -> tuple[dict[str, Any], bytes]:
        if self._over.is_set():
            raise LinewatchError("no picture is judged any more: the station stops")
        if self._process is None:
            try:  # Its own session: Ctrl+C at the terminal is the daemon's to hear.
                self._process = subprocess.Popen(
                    self._command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True
                )
            except OSError as error:  # No memory, no process left, or an upgrade has taken the program away.
                raise LinewatchError(
                    f"the picture cannot be judged now: no process for it ({error.strerror}); try again later"
                ) from error
        process = self._process
        overdue = threading.Event()

        def cut() -> None:
            overdue.set()
            process.kill()

        timer = threading.Timer(self._assess_s, cut)
        timer.start()
        try:
            assert process.stdin is not None and process.stdout is not None
            _send(process.stdin, question, data)
            return _receive(process.stdout)
        except (OSError, EOFError) as error:
            status = self._end()
            log.warning("upload ended its process status=%d bytes=%d", status, len(data))
            if overdue.is_set():
                raise LinewatchError(
                    f"no verdict after {self._assess_s:g} s: the line needs the processor; try again later"
                ) from error
            if status < 0:  # A signal: the decoder fell over, or memory was short.
                raise ImageError(UPLOAD, "cannot be decoded here; save it again as PNG or JPEG") from error
            raise LinewatchError("the picture could not be judged; see the log of the station") from error
        finally:
            timer.cancel()

    def _end(self) -> int:
        """End the process and return its exit status; closing its input ends it, if nothing else did."""
        if self._process is None:
            return 0
        process, self._process = self._process, None
        for pipe in (process.stdin, process.stdout):
            assert pipe is not None
            with suppress(OSError):  # What it did not take any more.
                pipe.close()
        try:
            return process.wait(END_S)
        except subprocess.TimeoutExpired:
            process.kill()
            return process.wait()


def main() -> None:
    """Answer on standard output for every picture on standard input, until that ends."""
    with suppress(OSError):  # When memory is short, this goes before the line does.
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    # Libraries may print: that goes to the log, not among the answers.
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "wb")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    places = json.loads(sys.argv[1])
    models = ModelsSettings(**places["models"])
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
            # Read every time: since the last picture another version may have become the active one.
            recipe, _ = load_recipe(models.recipes, product, models.path, version)
            current = references.list_others(product)
            if prepared is None or prepared.recipe != recipe or others != current:
                prepared, _ = prepare(product, models, version=version, references=references)
                others = current
            verdict, scored = judge_picture(image, prepared.scorer, recipe, station=places["station"])
        except LinewatchError as trouble:
            _send(answers, {"error": _kind(trouble), "sentence": str(trouble).removeprefix(_PREFIX)})
            continue
        drawn = b"" if scored is None else _jpeg(draw_heatmap(image, scored, recipe.threshold, SHOWN_SIDE_PX))
        picture = _jpeg(shrink_to(image, SHOWN_SIDE_PX)) if "show" in question else b""
        _send(answers, {"verdict": asdict(verdict), "heatmap_bytes": len(drawn)}, drawn + picture)


def _jpeg(image: Image) -> bytes:
    return cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 85])[1].tobytes()


def _send(pipe: IO[bytes], facts: dict[str, Any], data: bytes = b"") -> None:
    pipe.write(json.dumps(facts | {"bytes": len(data)}).encode() + b"\n")
    pipe.write(data)
    pipe.flush()


def _receive(pipe: IO[bytes]) -> tuple[dict[str, Any], bytes]:
    """Read one message. Raises EOFError when the other side has ended."""
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
    """Return the most particular name in `_KINDS` for what went wrong."""
    return next(name for name, (error, _) in _KINDS.items() if isinstance(trouble, error))
