"""What needs SciPy, in a process beside the line: the daemon itself never loads it.

The process has a low priority and bounds on time and memory: an uploaded page is untrusted.
"""

import importlib.util
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from typing import Any

from linewatch.capability.study import DATA_MARK, Limits, Study, StudyError, document, from_document
from linewatch.errors import LinewatchError

TIMEOUT_S = 60.0
NICE = 15
# Set before the imports, so that the threads of the libraries inherit it.
_PROGRAM = f"""
from linewatch.runtime.priority import give_way
give_way({NICE})
import os
os.environ["OPENBLAS_NUM_THREADS"] = os.environ["OMP_NUM_THREADS"] = "1"
from linewatch.capability.calculation import main
main()
"""


@dataclass(frozen=True, slots=True)
class Result:
    """The result of a complete study."""

    html: str
    sha256: str  # Of the study's data, as it stands on the page.
    outcome: str  # "" if no limits were chosen.
    figures: dict[str, Any]  # The fields of `figures.Figures`.


def is_installed() -> bool:
    """Whether SciPy is there; it is not loaded."""
    return importlib.util.find_spec("scipy") is not None


def prospects_apart(good: int, defective: int, limits: Limits | None) -> list[dict[str, Any]]:
    """Return the fields of `prospect.Prospect` for defective and good parts. Raises LinewatchError."""
    chosen = asdict(limits) if limits else None
    found: list[dict[str, Any]] = _ask(
        {"do": "prospects", "good": good, "defective": defective, "limits": chosen}
    )
    return found


def result_apart(study: Study) -> Result:
    """Return the result of a complete study. Raises LinewatchError."""
    return Result(**_ask({"do": "result", "study": document(study)}))


def verify_apart(page: str) -> tuple[Study, str]:
    """Return study and hash of a page that is as it was written. Raises StudyError if it is not."""
    if DATA_MARK not in page:
        raise StudyError("this is no result of a study; choose a file that linewatch msa or the page wrote")
    found = _ask({"do": "verify", "page": page})
    return from_document(found["study"]), str(found["sha256"])


def _ask(asked: dict[str, Any]) -> Any:
    try:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM],
            input=json.dumps(asked).encode(),
            stdout=subprocess.PIPE,
            timeout=TIMEOUT_S,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as error:
        raise LinewatchError(
            f"no answer after {TIMEOUT_S:.0f} s: the line needs the processor; try again later"
        ) from error
    except OSError as error:
        raise LinewatchError(f"no process for it now ({error.strerror}); try again later") from error
    if done.returncode or not done.stdout:
        raise LinewatchError("the calculation ended without an answer; see the log of the station")
    answer = json.loads(done.stdout)
    if "error" in answer:
        raise StudyError(str(answer["error"]))
    return answer["answer"]
