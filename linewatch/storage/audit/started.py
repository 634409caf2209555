"""The audit's entry of a start: the settings without secrets, and what changed since the start before."""

import hashlib
import json
import logging
import re
from collections.abc import Callable, Mapping
from typing import Any

from linewatch import __version__
from linewatch.errors import StorageFull
from linewatch.settings import Settings
from linewatch.storage.audit.reading import AuditConditions
from linewatch.storage.journal import Journal
from linewatch.storage.journal_reader import JournalReader

log = logging.getLogger(__name__)

STARTED = "started"
STARTS_MAX = 1000  # Among which the last one with other settings is searched.
_CREDENTIALS = re.compile(r"(?<=://)[^/@]*(?:/[^@]*)?@")

Audit = Callable[[str, str, Mapping[str, object]], None]
"""Records who did what, with its facts. Raises StorageFull."""


def record_start(journal: Journal, settings: Settings) -> None:
    """Record a start by its settings; all of them if they are not those of the start before.

    A disk that refuses is only logged: maintenance reports it within a second.
    """
    try:
        with journal.reader() as reader:
            _record(journal.audit, reader, settings)
    except StorageFull as trouble:
        log.warning("start_not_audited reason=%r", str(trouble))


def _record(audit: Audit, reader: JournalReader, settings: Settings) -> None:
    values = public_values(settings)
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()
    product = settings.station.product
    facts: dict[str, object] = {"version": __version__, "product": product, "settings": digest}
    before = _last_values(reader)
    if values != before:
        facts |= {"changed": _changes(before, values), "values": values}
    audit("linewatch", STARTED, facts)


def public_values(settings: Settings) -> dict[str, Any]:
    """Return every setting as `section.key`, secrets and the credentials of addresses as asterisks."""
    return {
        f"{section}.{key}": _CREDENTIALS.sub("***@", value) if isinstance(value, str) else value
        for section, table in settings.model_dump(mode="json").items()
        for key, value in table.items()
    }


def _last_values(reader: JournalReader) -> dict[str, Any]:
    """Return the settings of the last start that recorded them, {} if none did."""
    for entry in reader.audit(STARTS_MAX, AuditConditions(action=STARTED)):
        if isinstance(values := entry.facts.get("values"), dict):
            return values
    return {}


def _changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> dict[str, list[Any]]:
    """Return the old and the new value of each setting that changed; {} for the first start."""
    if not before:
        return {}
    names = sorted(before.keys() | now.keys())
    return {name: [before.get(name), now.get(name)] for name in names if before.get(name) != now.get(name)}
