"""Events of OPC 40100-1 (clause 13) as asyncua sends them."""

import uuid
from datetime import UTC, datetime
from typing import Any

from asyncua import ua
from asyncua.common.event_objects import BaseEvent

from linewatch.plc.opcua import address_space as at
from linewatch.plc.opcua.builder import variant_type
from linewatch.plc.opcua.structures import new

INFORMATION, TROUBLE = 100, 700  # Severities, 1 to 1000.


class Fields(list[ua.Variant]):
    """The fields of an event that tell a verdict, with the number of its block."""

    number = 0


class StationEvent(BaseEvent):
    """One event of the station. `number` is that of the verdict whose PASS it tells, else 0."""

    def __init__(self, kind: ua.NodeId, message: str, severity: int, source: str, number: int = 0) -> None:
        super().__init__(sourcenode=at.SYSTEM, message=message, severity=severity)
        now = datetime.now(UTC)
        self.EventId = uuid.uuid4().bytes
        self.EventType = kind
        self.SourceName = source
        self.Time = self.ReceiveTime = now
        self.number = number
        self.internal_properties.append("number")

    def add(self, name: str, value: Any, data_type: ua.NodeId, path: str = "") -> None:
        """Add a field; `path` is its name in a client's select clause if that differs."""
        self.add_property(path or name, value, variant_type(data_type))

    def to_event_fields(self, select_clauses: list[ua.SimpleAttributeOperand]) -> list[ua.Variant]:
        """Return what a client selected. Unlike asyncua's, without a copy for each subscription."""
        fields = Fields(map(self._field, select_clauses))
        fields.number = self.number
        return fields

    def _field(self, clause: ua.SimpleAttributeOperand) -> ua.Variant:
        name = "/".join(step.Name for step in clause.BrowsePath)
        value = getattr(self, name, None) if name in self.data_types else None
        return ua.Variant(None) if value is None else ua.Variant(value, self.data_types[name])


def result_ready(result: Any, message: str, source: str, number: int) -> StationEvent:
    """Return the event for a result; its `number` is 0 if it is no PASS."""
    event = StationEvent(at.RESULT_READY, message, INFORMATION, source, number)
    for name, data_type in at.event_fields(at.RESULT_READY):
        event.add(name, getattr(result, name), data_type)
    return event


def state_changed(kind: ua.NodeId, before: str, after: str, why: str, source: str) -> StationEvent:
    """Return the event for a change from one state of a machine to another."""
    trouble = kind == at.ERROR_EVENT
    message = f"{before} to {after}" + (f": {why}" if why else "")
    event = StationEvent(kind, message, TROUBLE if trouble else INFORMATION, source)
    text = ua.NodeId(ua.ObjectIds.LocalizedText)
    event.add("FromState", ua.LocalizedText(before), text)
    event.add("ToState", ua.LocalizedText(after), text)
    event.add("Transition", ua.LocalizedText(f"{before}To{after}"), text)
    return event


def recipe_prepared(product: str, source: str) -> StationEvent:
    """Return the event for another product in use."""
    event = StationEvent(at.RECIPE_PREPARED, f"product {product} is in use", INFORMATION, source)
    kinds = {
        "ExternalId": "RecipeIdExternalDataType",
        "InternalId": "RecipeIdInternalDataType",
        "ProductId": "ProductIdDataType",
    }
    for name, data_type in at.event_fields(at.RECIPE_PREPARED):
        event.add(name, new(kinds[name], Id=product), data_type)
    return event


def job_started(job: Any, source: str) -> StationEvent:
    """Return the event for a trigger that was taken."""
    event = StationEvent(at.JOB_STARTED, f"job {job.Id}", INFORMATION, source)
    for name, data_type in at.event_fields(at.JOB_STARTED):
        event.add(name, job, data_type)
    return event
