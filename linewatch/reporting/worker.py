"""Work out reports in a process of its own, at a low priority, so that neither line nor page waits for it."""

import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import date
from pathlib import Path
from typing import Any

from linewatch.errors import StorageFull
from linewatch.reporting.calendar import Shift
from linewatch.reporting.kept import KeptReports
from linewatch.reporting.report import make_report
from linewatch.runtime.side_process import read_job
from linewatch.settings import Settings
from linewatch.storage.journal_reader import JournalFile, JournalReader

DAY_MS = 86_400_000


def job_of(settings: Settings, shifts: Sequence[Shift]) -> dict[str, Any]:
    """Return what `main` needs to work out some shifts, in their order."""
    return {
        "station": settings.station.name,
        "journal": str(settings.journal.path),
        "evidence": str(settings.evidence.path),
        "folder": str(settings.shifts_folder),
        "retention_days": settings.journal.retention_days,
        "shifts": [asdict(shift) | {"day": shift.day.isoformat()} for shift in shifts],
    }


def main() -> None:
    """Work out the shifts of the job, and remove reports as old as verdicts that are removed."""
    job = read_job()
    kept = KeptReports(Path(job["folder"]))
    now_ms = time.time_ns() // 1_000_000
    try:
        kept.remove_before(now_ms - round(job["retention_days"] * DAY_MS))
        with JournalReader(JournalFile(Path(job["journal"]))) as reader:
            for asked in job["shifts"]:
                shift = Shift(**asked | {"day": date.fromisoformat(asked["day"])})
                now_ms = time.time_ns() // 1_000_000
                kept.write(shift, make_report(reader, job["station"], Path(job["evidence"]), shift, now_ms))
    except StorageFull as trouble:
        sys.exit(f"shift_report_failed reason={str(trouble)!r}")
