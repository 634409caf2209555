"""The Modbus server with clients of another make, and with those that misbehave."""

import importlib.util
import random
import socket
import struct
import time

import pytest

from linewatch.domain import Result
from linewatch.errors import ConfigError
from linewatch.mqtt.messages import Command
from linewatch.plc.modbus import server as module
from tests.fakes import verdict
from tests.plc.modbus import Raw, Served, mbpoll

READ_WORD = struct.pack(">BHH", 4, 0, 1)


def test_a_client_of_another_make_reads_and_triggers() -> None:
    """mbpoll, over libmodbus: status word, block, trigger, acknowledgement."""
    with Served() as served:
        port = served.settings.port
        served.server.publish_verdict(verdict(9, Result.FAIL, trigger=3))
        block = mbpoll(port, "-t", 3, "-r", 10, "-c", 20, "127.0.0.1")
        mbpoll(port, "-t", 4, "-r", 110, "127.0.0.1", 4, 0, 0x4130)
        acknowledged = mbpoll(port, "-t", 4, "-r", 30, "-c", 2, "127.0.0.1")
        word = mbpoll(port, "-t", "3", "-r", 0, "127.0.0.1")

    assert (block[0], block[3], block[4], block[13], block[19]) == (1, 9, 2, 3, 1)
    assert served.commands == [Command("trigger", 4, part="A0", who="modbus")]
    assert acknowledged == [4, 0]
    assert word == [3]


def test_a_part_is_triggered_and_the_answer_read_in_one_request() -> None:
    """Function 23 writes, then reads; 6 and 3 do the same in two steps; unit and transaction come back."""
    with Served() as served, served.connect() as client:
        both = struct.pack(">BHHHHBH", 23, 30, 2, 110, 1, 2, 7)
        client.send(both, transaction=0xABCD, unit=17)
        assert client.receive() == (0xABCD, 17, bytes([23, 4, 0, 7, 0, 0]))

        single = struct.pack(">BHH", 6, 110, 8)
        assert client.ask(single) == single
        assert client.read(30, 2, function=3) == [8, 0]


@pytest.mark.parametrize(
    ("pdu", "exception"),
    [
        (struct.pack(">BHH", 1, 0, 1), 1),  # Coils.
        (bytes([43, 14, 1, 0]), 1),
        (bytes([0x84, 2]), 1),
        (bytes([0]), 1),
        (struct.pack(">BHH", 4, 48, 1), 2),
        (struct.pack(">BHH", 4, 40, 9), 2),
        (struct.pack(">BHH", 6, 14, 1), 2),  # A client cannot write itself a PASS.
        (struct.pack(">BHHBH", 16, 14, 1, 2, 1), 2),
        (struct.pack(">BHHHHBH", 23, 40, 9, 110, 1, 2, 7), 2),
        (struct.pack(">BHH", 4, 0, 0), 3),
        (struct.pack(">BHH", 4, 0, 126), 3),
        (struct.pack(">BH", 4, 0), 3),
        (struct.pack(">BHHB", 4, 0, 1, 0), 3),
        (struct.pack(">BHHBH", 16, 110, 2, 4, 1), 3),
        (struct.pack(">BHHBH", 16, 110, 1, 3, 1), 3),
        (struct.pack(">BH", 16, 110), 3),
        (bytes([23]), 3),
    ],
)
def test_what_cannot_be_done_is_an_exception(pdu: bytes, exception: int) -> None:
    """With the code of the specification; nothing is carried out, and the connection goes on."""
    with Served() as served, served.connect() as client:
        assert client.ask(pdu) == bytes([pdu[0] | 0x80, exception])
        assert client.read(0, 1) == [3]

    assert served.commands == []
    assert (served.counts["exception"], served.counts["answered"]) == (1, 1)


def test_requests_sent_together_are_answered_in_order() -> None:
    """A client need not wait for one response before the next request."""
    with Served() as served, served.connect() as client:
        for number in range(1, 11):
            client.send(struct.pack(">BHH", 6, 110, number), transaction=number)
        answers = [client.receive() for _ in range(10)]

    assert [transaction for transaction, _, _ in answers] == list(range(1, 11))
    assert [command.rid for command in served.commands] == list(range(1, 11))


def test_a_thousand_malformed_frames_leave_the_server_as_it_was() -> None:
    """Noise, damaged headers and damaged requests; then every client is served as before."""
    chance = random.Random(7)
    with Served() as served:
        for _ in range(1000):
            good = struct.pack(">HHHB", 1, 0, 6, 1) + READ_WORD
            damaged = bytearray(good)
            for _ in range(chance.randint(1, 4)):
                damaged[chance.randrange(len(damaged))] = chance.randrange(256)
            noise = chance.randbytes(chance.randint(1, 300))
            with Raw(served.settings.port, "127.0.0.1") as client:
                client.socket.sendall(chance.choice([bytes(damaged), noise, bytes(damaged) + noise]))
                client.socket.shutdown(socket.SHUT_WR)
                assert client.is_closed()
        with served.connect() as client:
            assert client.read(0, 1) == [3]
            served.wait(lambda: served.clients == 1)

    assert served.troubles == [""]
    assert served.counts["malformed"] > 300
    assert served.commands == []


def test_a_client_that_says_nothing_is_closed_and_others_are_served(monkeypatch: pytest.MonkeyPatch) -> None:
    """Half-open connections, without a request or with half of one, hold up no other client."""
    monkeypatch.setattr(module, "FRAME_S", 0.2)
    with (
        Served(idle_s=0.3) as served,
        served.connect() as silent,
        served.connect() as half,
        served.connect() as good,
    ):
        half.socket.sendall(b"\0\1\0\0\0")
        while served.counts["idle"] < 2:
            assert good.read(0, 1) == [3]
        assert silent.is_closed() and half.is_closed()
        assert good.read(0, 1) == [3]


def test_a_client_that_takes_no_response_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its requests stop being read, so that no response waits in memory without limit."""
    monkeypatch.setattr(module, "FRAME_S", 0.2)
    with Served() as served, served.connect() as greedy, served.connect() as other:
        greedy.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
        greedy.socket.settimeout(0.2)
        request = struct.pack(">HHHB", 1, 0, 6, 1) + struct.pack(">BHH", 4, 0, 48)
        with pytest.raises(OSError):  # It is held up, and closed in the end.
            for _ in range(1000):
                greedy.socket.sendall(request * 1000)
        assert other.read(0, 1) == [3]


def test_a_fast_client_waits_for_its_responses() -> None:
    """200 requests a second for each connection, so that no client takes the processor from the line."""
    with Served() as served, served.connect() as client:
        started_s = time.monotonic()
        for _ in range(module.BURST + 40):
            client.read(0, 1)

        assert time.monotonic() - started_s > 0.9 * 39 / module.REQUESTS_PER_S


def test_only_the_clients_of_the_settings_are_served() -> None:
    """Others are closed without an answer."""
    with Served(clients=("127.0.0.2", "10.0.0.0/8")) as served:
        with served.connect("127.0.0.2") as known, served.connect("127.0.0.3") as stranger:
            assert known.read(0, 1) == [3]
            assert stranger.is_closed()

        assert served.counts["refused"] == 1


def test_more_clients_than_the_limit_are_refused() -> None:
    """A connection from an address that has one already replaces it: a PLC that was switched off and on."""
    with (
        Served(clients_max=2) as served,
        served.connect("127.0.0.2") as plc,
        served.connect("127.0.0.3") as scada,
    ):
        assert plc.read(0, 1) == scada.read(0, 1) == [3]
        with served.connect("127.0.0.4") as third:
            assert third.is_closed()
        with served.connect("127.0.0.2") as again:
            assert again.read(5, 1) == [2]
            assert plc.is_closed()
            assert scada.read(0, 1) == [3]

    assert (served.counts["accepted"], served.counts["refused"]) == (3, 1)


def test_a_taken_port_is_one_sentence_and_is_tried_again() -> None:
    """The station is DEGRADED until then, and the line goes on."""
    served = Served()
    taken = socket.create_server(("127.0.0.1", served.settings.port))
    with taken, served:
        taken.close()
        served.wait(lambda: served.troubles[-1] == "")

    assert served.troubles[0] == (
        f"modbus: cannot listen on 127.0.0.1:{served.settings.port} (Address already in use); stop the "
        "program that uses it, or set another modbus.host or modbus.port (below 1024 only with "
        "CAP_NET_BIND_SERVICE)"
    )


def test_without_its_extra_the_server_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    """One sentence, before anything is started."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(ConfigError, match=r"needs the extra \[modbus\]; install it: pip install"):
        Served()


def test_a_bug_ends_the_connections_and_the_server_starts_again() -> None:
    """Clients see their connection end rather than registers that stand still."""
    with Served() as served:
        with served.connect() as client:
            assert client.read(0, 1) == [3]
            served.bug = ZeroDivisionError("a bug")
            client.send(READ_WORD)
            assert client.is_closed()
        served.wait(lambda: len(served.troubles) == 3)
        with served.connect() as client:
            assert client.read(0, 1) == [3]

    assert served.troubles[1].startswith("modbus failed and is started again: ZeroDivisionError('a bug')")
    assert served.troubles[2] == ""


@pytest.mark.parametrize("action", ["report", "pause"])
def test_a_client_that_dies_is_recognised(action: str) -> None:
    """Its heartbeat stands still: the station says so and, if it is set so, pauses once."""
    with Served(watchdog_s=0.2, client_lost=action) as served, served.connect() as client:
        assert served.client_troubles == []
        client.ask(struct.pack(">BHH", 6, 100, 1))
        served.wait(lambda: len(served.client_troubles) == 1)
        if action == "pause":
            served.wait(lambda: bool(served.commands))
        client.ask(struct.pack(">BHH", 6, 100, 2))
        served.wait(lambda: len(served.client_troubles) == 2)

    assert served.client_troubles == ["no heartbeat of the Modbus client for 0.2 s; check the PLC", ""]
    paused = [Command("pause", 0, who="modbus watchdog")]
    assert served.commands == (paused if action == "pause" else [])
