"""Recall in a process of idle priority: neither decoding an upload nor the search slows the line."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import Any

from linewatch.errors import ImageError, ImageTooLarge, LinewatchError, RecipeError
from linewatch.recall.recall import Question, recall
from linewatch.settings import ModelsSettings, Settings
from linewatch.vision.image_io import decode

TIMEOUT_S = 120.0  # A year of parts is read in about a minute.
UPLOAD = "upload"
# Set before the imports, so that the threads of the libraries inherit it.
_PROGRAM = """
import os
os.sched_setscheduler(0, os.SCHED_IDLE, os.sched_param(0))
os.environ["OPENBLAS_NUM_THREADS"] = "1"
from linewatch.recall.worker import main
main()
"""
_KINDS: tuple[type[LinewatchError], ...] = (ImageTooLarge, ImageError, RecipeError, LinewatchError)
_PREFIX = str(ImageError(UPLOAD, ""))


def recall_apart(
    models: ModelsSettings,
    journal: Path,
    evidence: Path,
    question: Question,
    data: bytes,
    *,
    timeout_s: float = TIMEOUT_S,
) -> dict[str, Any]:
    """Return the answer as JSON values, and the parts as CSV under "csv"; `data` is an encoded image.

    Raises what `recall` raises, ImageError and ImageTooLarge for the data, and LinewatchError after the
    timeout.
    """
    asked = {
        "models": {"path": str(models.path), "recipes": str(models.recipes), "threads": models.threads},
        "journal": str(journal),
        "evidence": str(evidence),
        "question": asdict(question),
    }
    command = [sys.executable, "-c", _PROGRAM, json.dumps(asked)]
    try:
        done = subprocess.run(
            command,
            input=data,
            stdout=subprocess.PIPE,
            timeout=timeout_s,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as error:
        raise LinewatchError(
            f"no answer after {timeout_s:g} s: the line needs the processor; ask for a shorter time"
        ) from error
    except OSError as error:
        raise LinewatchError(f"no process for it now ({error.strerror}); try again later") from error
    if done.returncode == -signal.SIGKILL or not done.stdout:
        raise LinewatchError("the search ended without an answer; see the log of the station")
    answer: dict[str, Any] = json.loads(done.stdout)
    if "error" in answer:
        kind = next(kind for kind in _KINDS if kind.__name__ == answer["error"])
        sentence = str(answer["sentence"])
        raise kind(UPLOAD, sentence.removeprefix(_PREFIX)) if issubclass(kind, ImageError) else kind(sentence)
    return answer


def main() -> None:
    """Read the image on standard input, write the answer to standard output."""
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # What libraries print goes to the log.
    asked = json.loads(sys.argv[1])
    settings = Settings().model_copy(
        update={
            "models": ModelsSettings(**asked["models"]),
            "journal": Settings().journal.model_copy(update={"path": Path(asked["journal"])}),
            "evidence": Settings().evidence.model_copy(update={"path": Path(asked["evidence"])}),
        }
    )
    try:
        image = decode(sys.stdin.buffer.read(), UPLOAD)
        answer = recall(settings, image, Question(**asked["question"]))
        said = answer.as_dict() | {"csv": answer.csv()}
    except LinewatchError as trouble:
        kind = next(kind for kind in _KINDS if isinstance(trouble, kind))
        said = {"error": kind.__name__, "sentence": str(trouble)}
    with answers:
        json.dump(said, answers)
