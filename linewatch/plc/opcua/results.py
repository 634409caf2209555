"""Verdicts as results of OPC 40100-1 (clause 7.10), the newest ones kept for clients that ask."""

import json
from collections import OrderedDict
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar

from asyncua import ua

from linewatch.domain import Result, Verdict
from linewatch.mqtt.messages import verdict_payload
from linewatch.plc.opcua.structures import new

KEPT_MAX = 100
JOBS_MAX = 100  # Whose identification by the client is remembered until the result.
COMPLETED, FAILED = 1, 4  # Of ResultStateDataType: whether the part could be judged, not how.
T = TypeVar("T")
CONTINUOUS_JOB = "continuous"  # Of parts that no client triggered.


def job_id(boot: int, request: int) -> str:
    """Return the id of the job that a trigger starts."""
    return f"{boot}-{request or CONTINUOUS_JOB}"


def result_id(verdict: Verdict) -> str:
    """Return a result's id: boot and seq, as in evidence and journal."""
    return f"{verdict.boot}-{verdict.seq}"


def utc(ms: int) -> datetime:
    """Return a time of UTC milliseconds since 1970."""
    return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=ms)


class Results:
    """The newest verdicts, by result id."""

    def __init__(self) -> None:
        self._verdicts: OrderedDict[str, Verdict] = OrderedDict()
        self._meas_ids: OrderedDict[str, str] = OrderedDict()

    def begin(self, job: str, meas_id: str) -> None:
        """Remember how the client calls its job."""
        if meas_id:
            _keep(self._meas_ids, job, meas_id, JOBS_MAX)

    def add(self, verdict: Verdict) -> None:
        """Keep a verdict."""
        _keep(self._verdicts, result_id(verdict), verdict, KEPT_MAX)

    def by_id(self, result: str) -> Any | None:
        """Return the result; None if it is not known, or not any more."""
        verdict = self._verdicts.get(result)
        return None if verdict is None else self.structure(verdict, history=True)

    def newest_first(self, **wanted: str) -> list[Any]:
        """Return the kept results whose `part`, `product`, `model`, `job` and `meas` are as wanted."""
        return [
            self.structure(verdict, history=True)
            for verdict in reversed(self._verdicts.values())
            if all(self._facts(verdict)[name] == value for name, value in wanted.items() if value)
        ]

    def structure(self, verdict: Verdict, *, history: bool, withdrawn: bool = False) -> Any:
        """Return a verdict as ResultDataType; its content is the JSON of MQTT's `verdict`.

        A PASS that was `withdrawn` has the code 0 and no result.
        """
        payload = verdict_payload(verdict, history=history)
        if withdrawn:
            payload |= {"result": "", "code": 0}
        facts = self._facts(verdict)
        captured, ended = utc(verdict.captured_ms), utc(verdict.captured_ms + verdict.latency_ms)
        return new(
            "ResultDataType",
            ResultId=new("ResultIdDataType", Id=result_id(verdict)),
            HasTransferableDataOnFile=False,
            IsPartial=False,
            IsSimulated=verdict.simulated,
            ResultState=FAILED if verdict.result is Result.ERROR else COMPLETED,
            MeasId=new("MeasIdDataType", Id=facts["meas"]),
            PartId=new("PartIdDataType", Id=str(payload["part"])),
            ExternalRecipeId=new("RecipeIdExternalDataType", Id=verdict.product),
            InternalRecipeId=new("RecipeIdInternalDataType", Id=verdict.product),
            ProductId=new("ProductIdDataType", Id=verdict.product),
            InternalConfigurationId=new("ConfigurationIdDataType", Id=verdict.model),
            JobId=new("JobIdDataType", Id=facts["job"]),
            CreationTime=ended,
            ProcessingTimes=new(
                "ProcessingTimesDataType",
                StartTime=captured,
                EndTime=ended,
                ProcessingDuration=float(verdict.latency_ms),
            ),
            ResultContent=[ua.Variant(_json(payload), ua.VariantType.String)],
        )

    def _facts(self, verdict: Verdict) -> dict[str, str]:
        job = job_id(verdict.boot, verdict.trigger)
        return {
            "part": verdict.part,
            "product": verdict.product,
            "model": verdict.model,
            "job": job,
            "meas": self._meas_ids.get(job, "") if verdict.trigger else "",
        }


def _json(payload: dict[str, object]) -> str:
    return json.dumps(payload, separators=(",", ":"), ensure_ascii=False)


def _keep(kept: OrderedDict[str, T], key: str, value: T, limit: int) -> None:
    kept[key] = value
    kept.move_to_end(key)
    while len(kept) > limit:
        kept.popitem(last=False)
