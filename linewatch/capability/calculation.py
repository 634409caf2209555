"""The program of the process beside the line: plans, results and their verification, as JSON."""

import json
import os
import resource
import sys
from dataclasses import asdict
from typing import Any

from linewatch.capability import certificate
from linewatch.capability.figures import measure
from linewatch.capability.prospect import prospects
from linewatch.capability.study import Limits, StudyError, document, from_document

MEMORY_BYTES_MAX = 2_000_000_000
CPU_S_MAX = 60


def main() -> None:
    """Read a question on standard input, write the answer to standard output."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_BYTES_MAX, MEMORY_BYTES_MAX))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_S_MAX, CPU_S_MAX))
    answers = os.fdopen(os.dup(sys.stdout.fileno()), "w")
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())  # What libraries print goes to the log.
    asked = json.load(sys.stdin)
    try:
        said = {"answer": _answer(asked)}
    except StudyError as trouble:
        said = {"error": str(trouble)}
    with answers:
        json.dump(said, answers)


def _answer(asked: dict[str, Any]) -> Any:
    match asked["do"]:
        case "prospects":
            limits = Limits(**asked["limits"]) if asked["limits"] else None
            return [asdict(one) for one in prospects(asked["good"], asked["defective"], limits)]
        case "result":
            study = from_document(asked["study"])
            figures = measure(study)
            return {
                "html": certificate.render(study),
                "sha256": certificate.digest(study),
                "outcome": figures.outcome or "",
                "figures": asdict(figures),
            }
        case _:
            study = certificate.verify(asked["page"])
            return {"study": document(study), "sha256": certificate.digest(study)}
