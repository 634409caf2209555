"""The camera freezes, goes black, goes away and hangs, on a line that a PLC triggers."""

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
from tests.moody_camera import PROGRAM, Mood
from tests.mosquitto import Mosquitto, Subscriber

REASONS = {"frozen": 21, "black": 22, "gone": 40, "hung": 40}
TROUBLE_S = 10.0
TRIGGER_S = 0.25
DEADLINE_S, TOLD_S_MAX = 0.2, 2.0


def trial(options: Namespace, folder: Path, broker: Mosquitto) -> Iterator[Finding]:
    """Trigger four parts a second; for each trouble, look at what the PLC hears, and when."""
    mood = Mood(folder)
    changes = CONTRACT_LIMITS | {"trigger.mode": "mqtt"}
    rids = itertools.count(1)
    asked: dict[int, float] = {}

    def inspect(ear: Subscriber, until: float) -> list[int]:
        """Trigger parts until a moment; return their numbers."""
        first = next(rids)
        for rid in itertools.chain([first], rids):
            asked[rid] = time.monotonic()
            ear.say("t/cmd/trigger", json.dumps({"rid": rid, "part": f"A{rid}"}))
            time.sleep(TRIGGER_S)
            if time.monotonic() > until:
                return list(range(first, rid + 1))
        raise AssertionError("never ends")

    with (
        Subscriber(broker.port) as ear,
        Daemon(folder, broker.port, changes, PROGRAM, mood.environment) as daemon,
    ):
        wait(lambda: _state(ear)["state"] == "READY")
        for trouble, reason in REASONS.items():
            inspect(ear, time.monotonic() + 2.0)
            mood.be(trouble)
            began = time.monotonic()
            parts = inspect(ear, began + TROUBLE_S)
            mood.be("good")
            ended = time.monotonic()
            after = inspect(ear, ended + (12.5 if trouble == "gone" else 2.0))
            wait(lambda: _state(ear)["state"] == "READY")
            heard = {
                v["trigger"]: (message.at_s, v)
                for message in ear.heard
                if message.topic == "t/verdict" and (v := json.loads(message.payload))
            }
            told = {rid: heard[rid][1] for rid in parts if rid in heard}
            # The first may be exposed before the mood changes; freezing shows from the second one on.
            wrong = [
                v
                for rid, v in told.items()
                if rid > parts[1] and (v["result"], v["reason"]) != ("ERROR", reason)
            ]
            seen = f"{len(told)} of {len(parts)}, {len(wrong)} otherwise"
            yield Finding(
                trouble, f"every part gets its ERROR {reason}", seen, len(told) == len(parts) and not wrong
            )
            again = heard[after[-1]][1]["result"]
            yield Finding(
                trouble, "READY and judging again without a restart", again, again in ("PASS", "FAIL")
            )
            waits = [heard[rid][0] - asked[rid] for rid in told]
            seen = f"median {1000 * statistics.median(waits):.0f} ms, longest {1000 * max(waits):.0f} ms"
            yield Finding(
                trouble, "trigger to verdict within the deadline", seen, max(waits) <= DEADLINE_S, figure=True
            )
            faults = [m.at_s - began for m in ear.heard if _is_fault(m.topic, m.payload) and m.at_s > began]
            seen = f"FAULT after {faults[0]:.2f} s" if faults else "never"
            yield Finding(
                trouble,
                f"the state says so within {TOLD_S_MAX:g} s",
                seen,
                bool(faults) and faults[0] <= TOLD_S_MAX,
                figure=True,
            )
        status = daemon.stop()
        rows = daemon.rows()
    live = verdicts(ear.on("t/verdict"))
    seqs = [row["seq"] for row in rows]
    whole = status == 0 and seqs == [v["seq"] for v in live] == list(range(1, len(seqs) + 1))
    yield Finding(
        "camera", "one exposure, one verdict, live and journaled", f"{len(live)} of {len(seqs)}", whole
    )
    late = late_passes(live)
    yield Finding("camera", "no PASS is late", f"{late} of {len(live)}", not late)


def _state(ear: Subscriber) -> dict[str, Any]:
    return (verdicts(ear.on("t/state")) or [{"state": ""}])[-1]


def _is_fault(topic: str, payload: str) -> bool:
    return topic == "t/state" and json.loads(payload)["state"] == "FAULT"
