"""The PLC's side, runnable: trigger each part, wait for its verdict in a time window, pass or reject it.

    python docs/examples/plc.py --base linewatch/station1 --product-index 1 [--parts 10] [--window-ms 400]
        [--host BROKER --port 8883 --tls-ca ca.pem [--tls-cert plc.pem --tls-key plc.key]]
        [--username plc-station1 --password-file FILE]

`Gate` is what belongs into a PLC program: no MQTT, no threads, time as an argument. docs/plc.md has it in
Structured Text. The station runs with trigger.mode = "mqtt".
"""

import argparse
import json
import queue
import random
import re
import sys
import time
from pathlib import Path

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion
from paho.mqtt.reasoncodes import ReasonCode

LINE = re.compile(r"[0-9]{5};[0-9]{10};([1-4]);([0-9]{2});([0-9]{3});[0-9]{5};#", re.ASCII)
HEARTBEAT_S = 2.0
SILENCE_S = 10.0  # Without a status word for so long the program gives up.
READY = 1 << 1
RIDS = 65535


class Gate:
    """Opens for a part only after its PASS. All times are seconds of one monotonic clock.

    `window_s` begins with the trigger and must be twice the station's limits.deadline_ms at least: the
    exposure may come three quarters of the deadline after the trigger, and its PASS a deadline after that.
    Later the station itself sends none, so that a late one cannot count for the next part.
    """

    def __init__(self, product_index: int, window_s: float) -> None:
        self._product_index = product_index
        self._window_s = window_s
        self._heartbeat = -1
        self._beaten_s = float("-inf")
        self._ready = False
        self._rid = 0  # The trigger that is open; 0 is none.
        self._until_s = 0.0
        self._accepted = False
        self._refusal = ""
        self.why = ""  # For people: the cause of the last reject.

    def word(self, text: str, now_s: float) -> None:
        """Take `B/plc/word`: heartbeat and ready bit."""
        word = int(text) if text.isascii() and text.isdigit() else 0
        self._ready = bool(word & READY)
        if word >> 12 != self._heartbeat:
            self._heartbeat, self._beaten_s = word >> 12, now_s

    def trigger(self, rid: int, now_s: float) -> None:
        """Note that a part is in place and its trigger goes out now."""
        self._rid, self._until_s, self._accepted = rid, now_s + self._window_s, False
        self._refusal = "no reply to the trigger in the window"

    def reply(self, rid: int, code: int, reason: str = "") -> None:
        """Take the reply to a trigger. Verdicts that the broker delayed arrive before it and do not count."""
        self._accepted = rid == self._rid and code == 0
        if rid == self._rid:
            self._refusal = f"trigger refused: code {code}, {reason}" if code else "no verdict in the window"

    def verdict(self, line: str, now_s: float) -> str:
        """Take `B/plc/verdict`; return "PASS", "REJECT", or "" if no part waits for one."""
        if not self._rid or not self._accepted:
            return ""
        self._rid = 0  # One verdict for one part, whatever it says.
        self.why = self._objection(line, now_s)
        return "REJECT" if self.why else "PASS"

    def tick(self, now_s: float) -> str:
        """Call every scan: return "REJECT" once the window of a part is over, else ""."""
        if self._rid and now_s >= self._until_s:
            self._rid = 0
            self.why = self._refusal
            return "REJECT"
        return ""

    def _objection(self, line: str, now_s: float) -> str:
        """Return why a verdict does not open the gate, "" if it does."""
        found = LINE.fullmatch(line)
        if found is None:
            return f"line not whole: {line!r}"
        objections = {
            f"result {found[1]}, reason {found[2]}": found[1] != "1",
            f"product {found[3]}, not {self._product_index:03}": int(found[3]) != self._product_index,
            "verdict after the window": now_s >= self._until_s,
            "station not ready": not self._ready,
            "heartbeat stands still": now_s - self._beaten_s >= HEARTBEAT_S,
        }
        return next((why for why, holds in objections.items() if holds), "")


def main() -> int:
    """Trigger parts and print each decision; exit 1 if one was rejected."""
    parser = argparse.ArgumentParser(prog="plc.py")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=1883)
    parser.add_argument("--base", default="linewatch/station1")
    parser.add_argument("--product-index", type=int, default=1)
    parser.add_argument("--parts", type=int, default=10)
    parser.add_argument("--window-ms", type=int, default=400)
    parser.add_argument(
        "--tls-ca", help="CA of the broker's certificate; enables TLS, usually on --port 8883"
    )
    parser.add_argument("--tls-cert", help="this PLC's certificate, if the broker asks for one")
    parser.add_argument("--tls-key", help="and its private key")
    parser.add_argument("--username")
    parser.add_argument("--password-file", help="file with the password of --username")
    options = parser.parse_args()

    inbox: queue.Queue[tuple[str, str, float]] = queue.Queue()
    client = Client(CallbackAPIVersion.VERSION2)  # A clean session: no old message is delivered.
    try:
        _secure(client, options)
    except OSError as error:
        sys.exit(
            f"plc.py: a file cannot be used ({error}); see --tls-ca, --tls-cert, --tls-key, --password-file"
        )
    topics = [(f"{options.base}/{topic}", 1) for topic in ("plc/word", "plc/verdict", "cmd/trigger/res")]
    refusals: list[str] = []

    def on_connect(client: Client, _data: object, _flags: object, reason: ReasonCode, _more: object) -> None:
        if reason.is_failure:
            refusals.append(str(reason))
        else:
            client.subscribe(topics)

    client.on_connect = on_connect
    client.on_message = lambda _c, _u, message: inbox.put(
        (
            message.topic.removeprefix(f"{options.base}/"),
            message.payload.decode("ascii", "replace"),
            time.monotonic(),
        )
    )
    try:
        client.connect(options.host, options.port, keepalive=5)
    except OSError as error:  # Of TLS, too.
        sys.exit(f"plc.py: no broker at {options.host}:{options.port} ({error}); see --host and --port")
    client.loop_start()

    gate = Gate(options.product_index, options.window_ms / 1000)
    first = random.randrange(RIDS)  # Not that of the last run: a rid that comes again is the same trigger.
    decisions = [
        _one_part(gate, client, inbox, options.base, (first + part) % RIDS + 1, f"P{part}", refusals)
        for part in range(1, options.parts + 1)
    ]
    client.disconnect()
    client.loop_stop()
    return int("REJECT" in decisions)


def _secure(client: Client, options: argparse.Namespace) -> None:
    """Use TLS and log in, if the options say so. Raises OSError for a file that cannot be used."""
    if options.tls_ca:
        client.tls_set(options.tls_ca, options.tls_cert, options.tls_key)
    if options.username:
        password = Path(options.password_file).read_text().strip() if options.password_file else None
        client.username_pw_set(options.username, password)


def _one_part(
    gate: Gate,
    client: Client,
    inbox: "queue.Queue[tuple[str, str, float]]",
    base: str,
    rid: int,
    part: str,
    refusals: list[str],
) -> str:
    silent_s = time.monotonic() + SILENCE_S
    while _receive(gate, inbox, 0.6)[0] != "plc/word":  # Every part begins with a fresh heartbeat.
        if refusals:
            sys.exit(f"plc.py: the broker refuses this client ({refusals[0]}); see --username and --tls-cert")
        if time.monotonic() > silent_s:
            sys.exit(f"plc.py: no {base}/plc/word; does the station run, and is --base its mqtt.base_topic?")
    gate.trigger(rid, time.monotonic())
    client.publish(f"{base}/cmd/trigger", json.dumps({"rid": rid, "part": part}), qos=1)
    decision = ""
    while not decision:
        decision = _receive(gate, inbox, 0.005)[1] or gate.tick(time.monotonic())
    print(f"part {part}: {decision}", f"({gate.why})" if decision == "REJECT" else "", flush=True)
    return decision


def _receive(gate: Gate, inbox: "queue.Queue[tuple[str, str, float]]", wait_s: float) -> tuple[str, str]:
    """Pass one message to the gate; return its topic and the decision."""
    try:
        topic, text, now_s = inbox.get(timeout=wait_s)
    except queue.Empty:
        return "", ""
    if topic == "plc/word":
        gate.word(text, now_s)
    elif topic == "cmd/trigger/res":
        answer = json.loads(text)
        gate.reply(answer["rid"], answer["code"], answer["reason"])
    else:
        return topic, gate.verdict(text, now_s)
    return topic, ""


if __name__ == "__main__":
    sys.exit(main())
