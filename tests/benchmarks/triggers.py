"""Trigger parts over MQTT; exits 1 unless each trigger has exactly one answer and the right verdict.

    python -m tests.benchmarks.triggers [--count 2000] [--rate 10]

Every tenth trigger is sent twice, and every tenth has expired already.
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.daemon import Daemon
from tests.mosquitto import Mosquitto, Subscriber


@dataclass(frozen=True, slots=True)
class Outcome:
    """The results of all triggers; every list but `latencies_ms` should be empty."""

    count: int
    expired: int
    repeated: int
    unanswered: list[int]
    refused: list[int]  # Without the expired ones.
    accepted_expired: list[int]
    not_once: list[int]  # Parts without exactly one verdict.
    mismatched: list[int]  # Verdicts of another part than the trigger's.
    older: list[int]  # Exposed before the trigger was sent.
    latencies_ms: list[float]  # From the trigger's sending to the verdict's arrival.

    @property
    def held(self) -> bool:
        """Whether every trigger was handled as specified."""
        broken = (self.unanswered, self.refused, self.accepted_expired)
        return not any((*broken, self.not_once, self.mismatched, self.older))

    def __str__(self) -> str:
        p50, p99 = np.quantile(self.latencies_ms or [0.0], (0.5, 0.99))
        return (
            f"{self.count} triggers, {self.repeated} of them sent twice, and {self.expired} expired ones: "
            f"{len(self.unanswered)} not answered, {len(self.refused)} refused, "
            f"{len(self.accepted_expired)} expired ones accepted, {len(self.not_once)} without exactly one "
            f"verdict, {len(self.mismatched)} with another part, {len(self.older)} older than their trigger; "
            f"trigger to verdict {p50:.1f} ms (median), {p99:.1f} ms (99 %), "
            f"{max(self.latencies_ms, default=0):.1f} ms (longest)"
        )


def trial(folder: Path, broker: Mosquitto, count: int, rate: float) -> Outcome:
    """Trigger `count` parts, `rate` a second, on a daemon in trigger mode "mqtt"."""
    changes = {"trigger.mode": "mqtt", "source.uri": "defects=0.2"}
    sent_s: dict[int, float] = {}
    sent_ms: dict[int, float] = {}
    expired: set[int] = set()
    repeated: set[int] = set()
    with Subscriber(broker.port) as subscriber, Daemon(folder, broker.port, changes) as daemon:
        subscriber.wait(lambda subscriber: any('"READY"' in state for state in subscriber.on("t/state")))
        due_s = time.monotonic()
        for rid in range(1, count + 1):
            time.sleep(max(0.0, due_s - time.monotonic()))
            due_s = max(due_s + 1 / rate, time.monotonic())
            request: dict[str, object] = {"rid": rid, "part": f"A{rid:05d}"}
            if rid % 10 == 5:
                expired.add(rid)
                request["exp_ms"] = int(time.time() * 1000) - 50
            sent_s[rid], sent_ms[rid] = time.monotonic(), time.time() * 1000
            subscriber.say("t/cmd/trigger", json.dumps(request))
            if rid % 10 == 0:
                repeated.add(rid)
                subscriber.say("t/cmd/trigger", json.dumps(request))
        subscriber.wait(
            lambda subscriber: len(subscriber.on("t/cmd/trigger/res")) >= count + len(repeated),
            "every answer",
        )
        wanted = count - len(expired)
        subscriber.wait(lambda subscriber: len(subscriber.on("t/verdict")) >= wanted, "every verdict")
        assert daemon.stop() == 0
    replies: dict[int, int] = {}
    for text in subscriber.on("t/cmd/trigger/res"):
        reply = json.loads(text)
        assert replies.setdefault(reply["rid"], reply["code"]) == reply["code"]
    received = [
        (message.at_s, json.loads(message.payload))
        for message in subscriber.heard
        if message.topic == "t/verdict"
    ]
    triggered = [verdict["trigger"] for _, verdict in received]
    return Outcome(
        count=count - len(expired),
        expired=len(expired),
        repeated=len(repeated),
        unanswered=[rid for rid in sent_s if rid not in replies],
        refused=[rid for rid, code in replies.items() if code and rid not in expired],
        accepted_expired=[rid for rid in expired if replies.get(rid) != 3 or rid in triggered],
        not_once=[rid for rid in sent_s if rid not in expired and triggered.count(rid) != 1],
        mismatched=[v["trigger"] for _, v in received if v["part"] != f"A{v['trigger']:05d}"],
        older=[v["trigger"] for _, v in received if v["captured_ms"] < int(sent_ms[v["trigger"]])],
        latencies_ms=[1000 * (at_s - sent_s[v["trigger"]]) for at_s, v in received],
    )


def main() -> int:
    """Run the trial and print the outcome; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.triggers")
    parser.add_argument("--count", type=int, default=2000)
    parser.add_argument("--rate", type=float, default=10.0)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        broker = Mosquitto(Path(folder))
        broker.start()
        try:
            outcome = trial(Path(folder), broker, options.count, options.rate)
        finally:
            broker.stop()
    print(f"{'ok ' if outcome.held else 'BAD'} {outcome}")
    return 0 if outcome.held else 1


if __name__ == "__main__":
    sys.exit(main())
