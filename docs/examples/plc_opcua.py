"""An OPC UA client, runnable: trigger each part, receive its verdict by subscription, pass or reject it.

    python docs/examples/plc_opcua.py --product-index 1 [--endpoint opc.tcp://STATION:4840/linewatch]
        [--parts 10] [--window-ms 400]

For a station on another machine add --certificate CLIENT.der --key CLIENT.pem --server-certificate
STATION.pem --user NAME --password-file FILE; the client's certificate has to be in the station's folder of
trusted ones.
`Gate` is the decision: no network, time as an argument. Needs asyncua; the station runs with
opcua.enabled = true and trigger.mode = "mqtt".
"""

import argparse
import asyncio
import logging
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from asyncua import Client, Node, ua

HEARTBEAT_S = 2.0
STATION_URI = "urn:linewatch:opcua"
PUBLISHING_MS = 50
LIVE = ("Live.Heartbeat", "Live.Ready", "Live.Boot")
VERDICT = ("Verdict.Trigger", "Verdict.Boot", "Verdict.Code", "Verdict.Reason", "Verdict.ProductIndex")


class Gate:
    """Opens for a part only after its PASS. All times are seconds of one monotonic clock.

    `window_s` begins with the trigger and must be twice the station's limits.deadline_ms at least.
    """

    def __init__(self, product_index: int, window_s: float) -> None:
        self._product_index = product_index
        self._window_s = window_s
        self._heartbeat: Any = None
        self._beaten_s = float("-inf")

    def scan(self, values: Mapping[str, Any], now_s: float) -> None:
        """Watch the heartbeat; call it with every notification."""
        if values.get("Live.Heartbeat") != self._heartbeat:
            self._heartbeat, self._beaten_s = values.get("Live.Heartbeat"), now_s

    def decide(self, values: Mapping[str, Any], request: int, begun_s: float, now_s: float) -> str | None:
        """Return "" for a PASS, why the part is a reject, or None while its verdict is not there."""
        if now_s - begun_s >= self._window_s:
            return "no verdict in the window"
        if values.get("Verdict.Trigger") != request or values.get("Verdict.Boot") != values.get("Live.Boot"):
            return None
        code, product = values.get("Verdict.Code"), values.get("Verdict.ProductIndex")
        objections = {
            f"result {code}, reason {values.get('Verdict.Reason')}": code != 1,
            f"product {product}, not {self._product_index}": product != self._product_index,
            "station not ready": not values.get("Live.Ready"),
            "heartbeat stands still": now_s - self._beaten_s >= HEARTBEAT_S,
        }
        return next((why for why, holds in objections.items() if holds), "")


class Watch:
    """The newest value of each node, and when something changed; the handler of a subscription."""

    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.changed = asyncio.Event()

    def datachange_notification(self, node: Node, value: Any, _data: object) -> None:
        """Take one value of a notification."""
        self.values[str(node.nodeid.Identifier)] = value
        self.changed.set()


async def inspect(client: Client, gate: Gate, parts: int, window_s: float) -> int:
    """Trigger parts and print each decision; return the number of parts that passed."""
    index = await client.get_namespace_index(STATION_URI)
    objects = await client.nodes.objects.get_children()
    station = next(node for node in objects if node.nodeid.NamespaceIndex == index)
    trigger = client.get_node(ua.NodeId("Trigger", index))
    watch, passed = Watch(), 0
    subscription = await client.create_subscription(PUBLISHING_MS, watch)
    nodes = [client.get_node(ua.NodeId(name, index)) for name in (*LIVE, *VERDICT)]
    await subscription.subscribe_data_change(nodes)
    for number in range(1, parts + 1):
        begun_s, refusal = time.monotonic(), ""
        expiry = ua.Variant(round(1000 * window_s), ua.VariantType.UInt32)
        request, code, reason = await station.call_method(trigger, f"A{number:04d}", expiry)
        if code:
            refusal = f"trigger refused: code {code}, {reason}"
        why: str | None = refusal or None
        while why is None:
            gate.scan(watch.values, time.monotonic())
            why = gate.decide(watch.values, request, begun_s, time.monotonic())
            if why is None:
                watch.changed.clear()
                await _next(watch.changed, begun_s + window_s - time.monotonic())
        passed += not why
        print(f"part A{number:04d}: {f'REJECT ({why})' if why else 'PASS'}", flush=True)
    return passed


async def _next(changed: asyncio.Event, timeout_s: float) -> None:
    """Wait for a notification, or until the window is over."""
    try:
        async with asyncio.timeout(max(0.0, timeout_s)):
            await changed.wait()
    except TimeoutError:
        return


async def run(options: argparse.Namespace) -> int:
    """Connect, inspect and return the exit status."""
    client = Client(options.endpoint)
    if options.certificate:
        files = options.certificate, options.key, options.server_certificate
        names = "Basic256Sha256", "SignAndEncrypt"
        await client.set_security_string(",".join((*names, *map(str, files))))
    if options.user:
        client.set_user(options.user)
        client.set_password(Path(options.password_file).read_text(encoding="utf-8").strip())
    gate = Gate(options.product_index, options.window_ms / 1000)
    async with client:
        passed = await inspect(client, gate, options.parts, options.window_ms / 1000)
    print(f"{passed} of {options.parts} parts passed")
    return 0 if passed == options.parts else 1


def main() -> int:
    """Read the options and run."""
    parser = argparse.ArgumentParser(prog="plc_opcua.py", description=str(__doc__).partition("\n")[0])
    parser.add_argument("--endpoint", default="opc.tcp://127.0.0.1:4840/linewatch")
    parser.add_argument("--product-index", type=int, required=True)
    parser.add_argument("--parts", type=int, default=10)
    parser.add_argument("--window-ms", type=float, default=400)
    for name in ("certificate", "key", "server-certificate", "user", "password-file"):
        parser.add_argument(f"--{name}", default="")
    options = parser.parse_args()
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)
    try:
        return asyncio.run(run(options))
    except (OSError, ua.UaError, TimeoutError) as error:
        print(f"the station at {options.endpoint} cannot be used: {error!r}", file=sys.stderr)
        return 1


if __name__ == "__main__":
    sys.exit(main())
