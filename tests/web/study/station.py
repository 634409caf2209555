"""A station for the tests of studies: a journal into which parts are judged, and a taught product."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from linewatch.domain import Result
from linewatch.settings import ModelsSettings
from linewatch.storage.journal import Journal
from linewatch.web.study.interface import Stage
from linewatch.web.study.study_backend import StudyBackend
from tests.bundles import models_in, teach
from tests.fakes import verdict
from tests.web.client import studies_in

PARTS = (
    "part,truth\n" + "".join(f"G{n},good\n" for n in range(3)) + "".join(f"D{n},defect\n" for n in range(3))
)


@dataclass
class Line:
    """Judges parts as the line does: a row of the journal each."""

    folder: Path
    journal: Journal
    models: ModelsSettings
    model: str
    seq: int = 0

    def judge(self, part: str, result: Result | None = None, **facts: Any) -> None:
        """Journal a verdict; by default the right one for a part named G or D."""
        self.seq += 1
        said = result or (Result.FAIL if part.startswith("D") else Result.PASS)
        one = verdict(self.seq, said, part=part, **({"model": self.model} | facts))
        self.journal.append(replace(one, boot=self.journal.boot))
        self.journal.release(self.journal.boot, self.seq)

    def studies(self, **more: Any) -> StudyBackend:
        """Return the studies of the station, as after a start of the daemon."""
        more.setdefault("on_line", lambda: ("bottle", self.model))
        return studies_in(self.folder, self.journal, **more)

    def finish(self, studies: StudyBackend, name: str) -> None:
        """Judge every part that is asked for, rightly."""
        while (state := studies.state(name)) and state.stage is Stage.RUNNING and state.step:
            self.judge(state.step.part)
            studies.look(name, "Ann")
        studies.look(name, "Ann")

    def audited(self) -> list[tuple[str, str]]:
        """Return who did what, oldest first."""
        return [(one.who, one.action) for one in reversed(self.journal.reader().audit(100))]


@contextmanager
def a_line(folder: Path) -> Iterator[Line]:
    """Open a station in a folder."""
    models = models_in(folder)
    bundle = teach(models, "bottle")
    with Journal.open(folder / "journal.db") as journal:
        yield Line(folder, journal, models, bundle.version)
