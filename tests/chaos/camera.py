"""The camera freezes, turns black, disconnects and hangs while a PLC triggers parts."""

import itertools
import json
import statistics
import time
from argparse import Namespace
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.chaos.findings import Finding
from tests.chaos.watch import CONTRACT_LIMITS, late_passes, wait
from tests.daemon import Daemon, verdicts
from tests.faulty_camera import PROGRAM, CameraFault
from tests.mosquitto import Mosquitto, Subscriber

REASONS = {"frozen": 21, "black": 22, "gone": 40, "hung": 40}
FAULT_S = 10.0
TRIGGER_S = 0.25
DEADLINE_S, FAULT_S_MAX = 0.2, 2.0


def trial(options: Namespace, folder: Path, broker: Mosquitto) -> Iterator[Finding]:
    """Trigger four parts a second; for each fault, check the verdicts that the PLC gets, and their delay."""
    camera = CameraFault(folder)
    changes = CONTRACT_LIMITS | {"trigger.mode": "mqtt"}
    rids = itertools.count(1)
    sent_s: dict[int, float] = {}

    def inspect(subscriber: Subscriber, until: float) -> list[int]:
        """Trigger parts until a monotonic time; return their request ids."""
        first = next(rids)
        for rid in itertools.chain([first], rids):
            sent_s[rid] = time.monotonic()
            subscriber.say("t/cmd/trigger", json.dumps({"rid": rid, "part": f"A{rid}"}))
            time.sleep(TRIGGER_S)
            if time.monotonic() > until:
                return list(range(first, rid + 1))
        raise AssertionError("never ends")

    with (
        Subscriber(broker.port) as subscriber,
        Daemon(folder, broker.port, changes, PROGRAM, camera.environment) as daemon,
    ):
        wait(lambda: _state(subscriber)["state"] == "READY")
        for fault, reason in REASONS.items():
            inspect(subscriber, time.monotonic() + 2.0)
            camera.set(fault)
            began = time.monotonic()
            parts = inspect(subscriber, began + FAULT_S)
            camera.clear()
            ended = time.monotonic()
            after = inspect(subscriber, ended + (12.5 if fault == "gone" else 2.0))
            wait(lambda: _state(subscriber)["state"] == "READY")
            received = {
                v["trigger"]: (message.at_s, v)
                for message in subscriber.heard
                if message.topic == "t/verdict" and (v := json.loads(message.payload))
            }
            answered = {rid: received[rid][1] for rid in parts if rid in received}
            # The first may be exposed before the fault; a frozen image is detected from the second one on.
            wrong = [
                v
                for rid, v in answered.items()
                if rid > parts[1] and (v["result"], v["reason"]) != ("ERROR", reason)
            ]
            seen = f"{len(answered)} of {len(parts)}, {len(wrong)} otherwise"
            yield Finding(
                fault, f"every part gets its ERROR {reason}", seen, len(answered) == len(parts) and not wrong
            )
            result = received[after[-1]][1]["result"]
            yield Finding(
                fault, "READY and judging again without a restart", result, result in ("PASS", "FAIL")
            )
            waits = [received[rid][0] - sent_s[rid] for rid in answered]
            seen = f"median {1000 * statistics.median(waits):.0f} ms, longest {1000 * max(waits):.0f} ms"
            yield Finding(
                fault, "trigger to verdict within the deadline", seen, max(waits) <= DEADLINE_S, figure=True
            )
            fault_after_s = [
                m.at_s - began for m in subscriber.heard if _is_fault(m.topic, m.payload) and m.at_s > began
            ]
            seen = f"FAULT after {fault_after_s[0]:.2f} s" if fault_after_s else "never"
            yield Finding(
                fault,
                f"the state is FAULT within {FAULT_S_MAX:g} s",
                seen,
                bool(fault_after_s) and fault_after_s[0] <= FAULT_S_MAX,
                figure=True,
            )
        status = daemon.stop()
        rows = daemon.rows()
    live = verdicts(subscriber.on("t/verdict"))
    seqs = [row["seq"] for row in rows]
    whole = status == 0 and seqs == [v["seq"] for v in live] == list(range(1, len(seqs) + 1))
    yield Finding(
        "camera", "one exposure, one verdict, live and journaled", f"{len(live)} of {len(seqs)}", whole
    )
    late = late_passes(live)
    yield Finding("camera", "no PASS is late", f"{late} of {len(live)}", not late)


def _state(subscriber: Subscriber) -> dict[str, Any]:
    return (verdicts(subscriber.on("t/state")) or [{"state": ""}])[-1]


def _is_fault(topic: str, payload: str) -> bool:
    return topic == "t/state" and json.loads(payload)["state"] == "FAULT"
