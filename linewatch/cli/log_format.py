"""The format of log lines."""

import logging
from datetime import datetime


class LogFormatter(logging.Formatter):
    """Writes `TIME LEVEL event key=value`; the time is local, in milliseconds, with its offset from UTC."""

    def __init__(self) -> None:
        super().__init__("%(asctime)s %(levelname)s %(message)s")

    def formatTime(self, record: logging.LogRecord, datefmt: str | None = None) -> str:  # noqa: N802, ARG002
        """Return ISO 8601, such as 2026-11-28T15:08:03.421+01:00."""
        return datetime.fromtimestamp(record.created).astimezone().isoformat(timespec="milliseconds")
