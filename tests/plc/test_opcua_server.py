"""The OPC UA server with asyncua's client, and with clients that misbehave."""

import asyncio
import importlib.util
import json
import socket
import struct
import threading
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from asyncua import Client, ua
from asyncua.common.connection import SecureConnection, TransportLimits
from asyncua.common.utils import ServiceError
from asyncua.crypto.security_policies import SecurityPolicyNone
from asyncua.ua.ua_binary import struct_to_binary, uatcp_to_binary
from cryptography.hazmat.primitives.asymmetric import rsa

from linewatch.domain import Answer, ReplyCode, Result, State
from linewatch.errors import ConfigError
from linewatch.mqtt.messages import Command
from linewatch.people.people import People
from linewatch.people.roles import Role
from linewatch.people.sign_in import SignIn
from linewatch.plc.opcua import bounds, states
from linewatch.plc.opcua.certificates import Certificates
from linewatch.plc.opcua.sessions import CODES, StationServer
from linewatch.plc.opcua.structures import new
from tests.fakes import verdict
from tests.plc.opcua import PASSWORD, WAIT_S, Identity, Served, node

XMLENC = "http://www.w3.org/2001/04/"
OPC_SECURITY = "http://opcfoundation.org/UA/security/"

STATION = "Station"


async def values(client: Client, *paths: str) -> list[Any]:
    """Read variables in one request."""
    return list(await client.read_values([node(client, path) for path in paths]))


class Ear:
    """Keeps what a subscription receives."""

    def __init__(self) -> None:
        self.heard: list[Any] = []
        self._more = asyncio.Event()

    def datachange_notification(self, subscribed: Any, value: Any, data: Any) -> None:
        """Keep a value."""
        self._take((subscribed.nodeid.Identifier, value))

    def event_notification(self, event: Any) -> None:
        """Keep an event."""
        self._take(event)

    def status_change_notification(self, status: Any) -> None:
        """Keep a change of status."""
        self._take(status)

    def _take(self, one: Any) -> None:
        self.heard.append(one)
        self._more.set()

    async def wait(self, count: int) -> list[Any]:
        """Wait for so many; return all."""
        async with asyncio.timeout(WAIT_S):
            while len(self.heard) < count:
                self._more.clear()
                await self._more.wait()
        return self.heard


def test_a_client_browses_reads_and_triggers(tmp_path: Path) -> None:
    """State machines by the specification's ids, plain variables, the trigger's number in the verdict."""

    async def work(client: Client) -> None:
        system = await client.nodes.objects.get_child("3:station1")
        kind = await system.read_type_definition()
        machine = await system.get_child(["2:VisionStateMachine", "0:CurrentState", "0:Id"])
        automatic = await system.get_child(
            ["2:VisionStateMachine", "2:AutomaticModeStateMachine", "0:CurrentState", "0:Id"]
        )
        assert kind == ua.NodeId(1003, 2)
        assert await machine.read_value() == ua.NodeId(5031, 2)
        assert await automatic.read_value() == ua.NodeId(5057, 2)
        assert await values(client, "Live.State", "Live.Ready", "Verdict.Number") == ["READY", True, 0]
        request, code, _ = await system.call_method("3:Trigger", "A1", ua.Variant(400, ua.VariantType.UInt32))
        assert code == 0
        served.server.publish_verdict(verdict(9, Result.FAIL, trigger=request, part="A1", box=(1, 2, 3, 4)))
        paths = [f"Verdict.{name}" for name in ("Number", "Boot", "Seq", "Code", "Result", "Trigger", "Box")]
        assert await values(client, *paths) == [1, 41, 9, 2, "FAIL", request, [1, 2, 3, 4]]

    with Served(tmp_path) as served:
        served.session(work)

    assert served.commands == [Command("trigger", 1, part="A1", exp_ms=400, who="opcua")]


def test_jobs_recipes_and_results_with_the_specifications_structures(tmp_path: Path) -> None:
    """StartSingleJob, PrepareRecipe, ResultReady and GetResultById carry the ids the client gave."""

    async def work(client: Client) -> None:
        ear = Ear()
        subscription = await client.create_subscription(50, ear)
        await subscription.subscribe_events(node(client, STATION), ua.NodeId(1024, 2))
        automatic = node(client, "VisionStateMachine.AutomaticModeStateMachine")
        ids = [new(f"{kind}DataType", Id=text) for kind, text in (
            ("MeasId", "m7"), ("PartId", "A1"), ("RecipeIdExternal", ""), ("ProductId", "bottle")
        )]  # fmt: skip
        nothing = ua.Variant([], ua.VariantType.Variant, is_array=True)
        job, error = await automatic.call_method("2:StartSingleJob", *ids, nothing)
        assert (job.Id, error) == ("41-1", 0)
        served.server.publish_verdict(verdict(9, trigger=1, part="A1"))
        (event,) = await ear.wait(1)
        assert (event.ResultId.Id, event.JobId.Id, event.MeasId.Id, event.PartId.Id) == (
            "41-9", "41-1", "m7", "A1",
        )  # fmt: skip
        assert json.loads(event.ResultContent[0].Value)["result"] == "PASS"
        results = node(client, "ResultManagement")
        identity = new("ResultIdDataType", Id="41-9")
        _, result, error = await results.call_method(
            "2:GetResultById", identity, ua.Variant(0, ua.VariantType.Int32)
        )
        assert (result.JobId.Id, result.ResultState, error) == ("41-1", 1, 0)
        assert json.loads(result.ResultContent[0].Value)["history"] == 1
        recipes = node(client, "RecipeManagement")
        external, internal = new("RecipeIdExternalDataType", Id="cookie"), new("RecipeIdInternalDataType")
        prepared = await recipes.call_method("2:PrepareRecipe", external, internal)
        assert (prepared[0].Id, prepared[1:]) == ("cookie", [True, 0])

    with Served(tmp_path) as served:
        served.session(work)

    assert [command.name for command in served.commands] == ["trigger", "product"]


@pytest.mark.parametrize("state", [state for state in State if not state.judging])
def test_a_pass_is_withdrawn_where_no_part_may_pass(tmp_path: Path, state: State) -> None:
    """In every such state the code is 0, also in the structure; afterwards it stays withdrawn."""

    async def work(client: Client) -> None:
        served.server.publish_verdict(verdict(1))
        assert await values(client, "Verdict.Code", "Verdict.Result") == [1, "PASS"]
        served.state = state
        code, result, latest = await values(client, "Verdict.Code", "Verdict.Result", "Latest")
        assert (code, result) == (0, "")
        content = json.loads(latest.ResultContent[0].Value)
        assert (content["code"], content["result"]) == (0, "")
        served.state = State.READY
        assert await values(client, "Verdict.Code") == [0]

    with Served(tmp_path) as served:
        served.session(work)


def test_a_pass_is_withdrawn_after_its_time_and_with_its_product(tmp_path: Path) -> None:
    """A client that was away reads none, and none of the product before."""

    async def work(client: Client) -> None:
        served.server.publish_verdict(verdict(1))
        served.product = 4
        assert await values(client, "Verdict.Code") == [0]
        served.server.publish_verdict(verdict(2, product="cookie", product_index=4))
        ear = Ear()
        subscription = await client.create_subscription(50, ear)
        await subscription.subscribe_data_change(node(client, "Verdict.Code"))
        assert [value for _, value in await ear.wait(2)] == [1, 0]

    with Served(tmp_path, pass_s=0.5) as served:
        served.session(work)


def test_a_queued_pass_is_not_sent_once_it_was_withdrawn(tmp_path: Path) -> None:
    """Values and events that wait for the publishing interval are looked through before they go."""

    async def work(client: Client) -> None:
        codes, events = Ear(), Ear()
        slow = await client.create_subscription(2000, codes)
        await slow.subscribe_data_change(node(client, "Verdict.Code"), queuesize=10)
        await codes.wait(1)
        told = await client.create_subscription(2000, events)
        await told.subscribe_events(node(client, STATION), ua.NodeId(1024, 2), queuesize=10)
        served.server.publish_verdict(verdict(1))
        assert await values(client, "Verdict.Code") == [1]  # Queued by now.
        served.state = State.PAUSED
        assert await values(client, "Verdict.Code") == [0]
        served.server.publish_verdict(verdict(2, Result.FAIL))
        await codes.wait(2)
        assert [value for _, value in codes.heard[1:]] in ([0, 2], [2])
        (event,) = await events.wait(1)
        assert event.ResultId.Id == "41-2"

    with Served(tmp_path) as served:
        served.session(work)


def test_states_are_told_as_events(tmp_path: Path) -> None:
    """FAULT is StateChanged and Error, its end StateChanged and ErrorResolved, of the server, too."""

    async def work(client: Client) -> None:
        ear = Ear()
        subscription = await client.create_subscription(50, ear)
        kinds = [ua.NodeId(number, 2) for number in (1018, 1019, 1020)]
        await subscription.subscribe_events(client.nodes.server, kinds)
        served.state = State.FAULT
        await ear.wait(2)
        served.state = State.READY
        heard = [(event.EventType.Identifier, event.ToState.Text) for event in await ear.wait(4)]
        assert heard == [(1018, "Error"), (1019, "Error"), (1018, "Operational"), (1020, "Operational")]

    with Served(tmp_path) as served:
        served.session(work)


def test_methods_become_commands(tmp_path: Path) -> None:
    """Halt pauses, Reset resumes or resets, and a refusal is the code, negative in Error."""

    async def work(client: Client) -> None:
        machine, system = node(client, "VisionStateMachine"), node(client, STATION)
        cause = ua.Variant(0, ua.VariantType.Int32), "a reason"
        assert await machine.call_method("2:Halt", *cause) == 0
        served.state = State.PAUSED
        await machine.call_method("2:Reset", *cause)
        served.state = State.FAULT
        await machine.call_method("2:Reset", *cause)
        served.answer = Answer(ReplyCode.UNKNOWN, "no recipe")
        index = ua.Variant(9, ua.VariantType.UInt16)
        assert await system.call_method("3:SelectRecipe", "", index) == [5, "no recipe"]
        nothing = ua.Variant(0, ua.VariantType.UInt16)
        assert (await system.call_method("3:SelectRecipe", "", nothing))[0] == 4

    with Served(tmp_path) as served:
        served.session(work)

    assert [command.name for command in served.commands] == ["pause", "resume", "reset", "product"]


def test_wrong_arguments_are_refused(tmp_path: Path) -> None:
    """Too few, too many, of another type: nothing is submitted."""

    async def work(client: Client) -> None:
        system = node(client, STATION)
        for arguments in ((), ("A",), ("A", ua.Variant("x")), ("A", ua.Variant(1, ua.VariantType.UInt32), 1)):
            with pytest.raises(ua.UaStatusCodeError):
                await system.call_method("3:Trigger", *arguments)
        with pytest.raises(ua.UaStatusCodeError):
            await node(client, "Verdict.Code").write_value(ua.Variant(1, ua.VariantType.Byte))
        long = await system.call_method("3:Trigger", "A" * 129, ua.Variant(0, ua.VariantType.UInt32))
        assert long[1] == ReplyCode.BAD_ARGUMENT

    with Served(tmp_path) as served:
        served.session(work)

    assert served.commands == []


def test_a_trusted_client_signs_in_and_commands_in_its_name(tmp_path: Path) -> None:
    """Certificate, then user and password, or a machine's token; the command carries the name."""
    identity = Identity(tmp_path, "mes")
    identity.trust(tmp_path)

    async def work(client: Client) -> None:
        await node(client, STATION).call_method("3:Pause")

    with Served(tmp_path, host="0.0.0.0", users=True) as served:
        token = served.people.add_token("mes", Role.OPERATOR, "test")
        served.secured(identity, work, "anna", PASSWORD)
        served.secured(identity, work, "any", token)

    assert [command.who for command in served.commands if isinstance(command, Command)] == [
        "anna",
        "token:mes",
    ]


def test_strangers_are_refused(tmp_path: Path) -> None:
    """Another certificate, a wrong password, no user, no security: each ends before anything is read."""
    known, stranger = Identity(tmp_path, "mes"), Identity(tmp_path, "stranger")
    known.trust(tmp_path)

    async def work(client: Client) -> list[Any]:
        return await values(client, "Live.State")

    with Served(tmp_path, host="0.0.0.0", users=True) as served:
        assert served.secured(known, work, "anna", PASSWORD) == ["READY"]
        for identity, user, word in (
            (stranger, "anna", PASSWORD),
            (known, "anna", "wrong"),
            (known, "nobody", PASSWORD),
            (known, "", ""),
        ):  # fmt: skip
            with pytest.raises((ua.UaError, OSError, asyncio.TimeoutError)):
                served.secured(identity, work, user, word)
        with pytest.raises((ua.UaError, OSError, asyncio.TimeoutError)):
            served.session(work)
        with pytest.raises((ua.UaError, OSError, asyncio.TimeoutError)):
            insecure = Client(served.url)
            insecure.set_user("anna")
            insecure.set_password(PASSWORD)

            async def run() -> None:
                async with insecure:
                    pass

            asyncio.run(run())
    assert [path.read_bytes() for path in (tmp_path / "refused").iterdir()] == [stranger.der]


def test_with_users_programs_on_this_machine_read_only(tmp_path: Path) -> None:
    """Commands then need a name."""

    async def work(client: Client) -> None:
        assert await values(client, "Live.State") == ["READY"]
        with pytest.raises(ua.UaStatusCodeError, match="BadUserAccessDenied"):
            await node(client, STATION).call_method("3:Pause")

    with Served(tmp_path, users=True) as served:
        served.session(work)

    assert served.commands == []


def test_a_bug_ends_the_connections_and_the_server_starts_again(tmp_path: Path) -> None:
    """Clients see their connection end rather than values that stand still."""

    async def work(client: Client) -> list[Any]:
        return await values(client, "Live.State")

    with Served(tmp_path) as served:
        assert served.session(work) == ["READY"]
        served.bug = ZeroDivisionError("a bug")
        served.wait(lambda: served.troubles[1:] != [] and served.troubles[-1] == "")
        assert served.session(work) == ["READY"]

    assert served.troubles[1].startswith("opcua failed and is started again: ZeroDivisionError('a bug')")


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\n\r\n",
        b"HELF" + struct.pack("<I", 0xFFFFFFFF),
        b"MSGF" + struct.pack("<I", 8),
        b"HELF" + struct.pack("<I", 12) + b"\xff\xff\xff\xff",
        b"MSGF" + struct.pack("<IIIII", 24, 1, 1, 1, 1),
    ],
)
def test_what_is_no_opc_ua_is_closed(tmp_path: Path, sent: bytes) -> None:
    """Other clients do not notice; no bytes are collected without end."""
    with Served(tmp_path) as served, socket.create_connection(("127.0.0.1", served.port), WAIT_S) as client:
        client.sendall(sent)
        while client.recv(4096):
            pass

        assert served.counts["malformed"] + served.counts["refused"] == 1


def test_connections_beyond_the_limit_replace_those_that_did_not_sign_in(tmp_path: Path) -> None:
    """A flood of half-open connections keeps nobody out who signs in at once."""

    async def work(client: Client) -> list[Any]:
        return await values(client, "Live.State")

    with Served(tmp_path, sessions_max=1) as served:
        flood = [
            socket.create_connection(("127.0.0.1", served.port), WAIT_S)
            for _ in range(bounds.SPARE_CONNECTIONS + 5)
        ]
        assert served.session(work) == ["READY"]
        for connection in flood:
            connection.close()


def test_too_much_at_once_is_refused(tmp_path: Path) -> None:
    """Sessions, subscriptions, items and operations have their limits, each with its status code."""

    async def work(client: Client) -> None:
        with pytest.raises(ua.UaStatusCodeError, match="BadTooManyOperations"):
            await values(client, *["Live.State"] * (bounds.OPERATIONS_MAX + 1))
        for _ in range(bounds.SUBSCRIPTIONS_EACH):
            await client.create_subscription(1000, Ear())
        with pytest.raises(ua.UaStatusCodeError, match="BadTooManySubscriptions"):
            await client.create_subscription(1000, Ear())
        with pytest.raises(ua.UaStatusCodeError, match="BadTooManySessions"):
            async with Client(served.url):
                pass

    with Served(tmp_path, sessions_max=1) as served:
        served.session(work)


class Raw:
    """A client that speaks OPC UA without security, byte by byte; it never has to read."""

    def __init__(self, port: int) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), WAIT_S)
        hello = uatcp_to_binary(ua.MessageType.Hello, ua.Hello(EndpointUrl="opc.tcp://x"))
        self.socket.sendall(hello)
        self.socket.recv(4096)
        self._channel = SecureConnection(SecurityPolicyNone(), TransportLimits())
        self._request = 0
        opened = ua.OpenSecureChannelRequest()
        opened.Parameters.SecurityMode = ua.MessageSecurityMode.None_
        self.send(opened, ua.MessageType.SecureOpen)
        self.socket.recv(4096)

    def send(self, request: Any, kind: bytes = ua.MessageType.SecureMessage, times: int = 1) -> None:
        """Send a request, perhaps many times."""
        sent = b""
        for _ in range(times):
            self._request += 1
            body = struct_to_binary(request)
            sent += self._channel.message_to_binary(body, message_type=kind, request_id=self._request)
        self.socket.sendall(sent)

    def fault(self, request: Any) -> int:
        """Send a request; return the status code of its refusal, 0 if it is answered."""
        self.send(request)
        answer = self.socket.recv(65536)
        kind = int.from_bytes(answer[26:28], "little")  # After the headers of message, security and sequence.
        refused = kind == ua.ObjectIds.ServiceFault_Encoding_DefaultBinary
        return int.from_bytes(answer[40:44], "little") if refused else 0

    def sign_in(self) -> None:
        """Begin a session."""
        self.send(ua.CreateSessionRequest())
        self.socket.recv(65536)
        self.send(ua.ActivateSessionRequest())
        self.socket.recv(65536)


def test_a_service_that_needs_no_session_is_refused_without_one(tmp_path: Path) -> None:
    """Nothing can be registered, read or called before signing in; discovery can be asked for."""
    with Served(tmp_path) as served:
        client = Raw(served.port)
        assert client.fault(ua.RegisterServerRequest()) == ua.StatusCodes.BadServiceUnsupported
        for request in (ua.ReadRequest(), ua.CallRequest()):
            assert client.fault(request) == ua.StatusCodes.BadUserAccessDenied
        client.send(ua.GetEndpointsRequest())
        assert b"Basic256Sha256" in client.socket.recv(65536)
        client.socket.close()


def test_without_security_there_is_no_session_for_other_machines(tmp_path: Path) -> None:
    """Not even for a client that does not look at the endpoints which the server offers."""
    with Served(tmp_path, host="0.0.0.0") as served:
        client = Raw(served.port)
        assert client.fault(ua.CreateSessionRequest()) == ua.StatusCodes.BadSecurityPolicyRejected
        assert client.fault(ua.GetEndpointsRequest()) == 0
        client.socket.close()


def test_a_client_that_reads_nothing_is_dropped_and_others_are_served(tmp_path: Path) -> None:
    """It asks for much and takes none of it; neither its requests nor its responses pile up."""
    everything = ua.ReadRequest()
    names = [f"Verdict.{name}" for name in ("Code", "Seq", "Part", "Box")] * 100
    everything.Parameters.NodesToRead = [
        ua.ReadValueId(NodeId=ua.NodeId(name, 3), AttributeId=ua.AttributeIds.Value) for name in names
    ]

    async def work(client: Client) -> list[Any]:
        return await values(client, "Live.State")

    with Served(tmp_path) as served:
        greedy = Raw(served.port)
        greedy.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        greedy.sign_in()
        greedy.socket.settimeout(1.0)
        with pytest.raises(OSError):  # It is held up, and dropped in the end.
            for _ in range(1000):
                greedy.send(everything, times=20)
        assert served.session(work) == ["READY"]
        served.wait(lambda: served.counts["dropped"] == 1)
        greedy.socket.close()


def test_requests_take_their_share_of_the_processor_and_no_more() -> None:
    """A client may ask for much at once; then it waits until its share has refilled."""
    now_s = 100.0
    budget = bounds.Budget(share=0.2, clock_s=lambda: now_s)

    assert budget.spend(bounds.BURST_S) == 0
    assert budget.spend(0.1) == pytest.approx(0.5)
    now_s += 0.5
    assert budget.spend(0.02) == pytest.approx(0.1)
    now_s += 60
    assert budget.spend(bounds.BURST_S) == 0


def test_a_certificate_file_that_is_removed_is_trusted_no_more(tmp_path: Path) -> None:
    """Trust changes without a restart; what cannot be read is passed over."""
    known = Identity(tmp_path, "mes")
    certificates = Certificates(tmp_path / "pki", None, None)
    (tmp_path / "pki/trusted").mkdir(parents=True)
    (tmp_path / "pki/trusted/notes.txt").write_text("no certificate")
    assert "is not in" in certificates.why_untrusted(known.der)
    known.trust(tmp_path / "pki")
    assert certificates.why_untrusted(known.der) == ""
    assert certificates.count_trusted() == 1
    (tmp_path / "pki/trusted/mes.der").unlink()
    assert "is not in" in certificates.why_untrusted(known.der)
    assert "cannot be read" in certificates.why_untrusted(b"damaged")


@pytest.mark.parametrize("method", ["xmlenc#rsa-1_5", "xmlenc#rsa-oaep", "rsa-oaep-sha2-256", "", "bogus"])
@pytest.mark.parametrize("word", [None, b"", b"x", bytes(256), bytes(range(255, -1, -1)), b"\xff" * 1000])
def test_a_damaged_user_token_is_refused(method: str, word: bytes | None) -> None:
    """Whatever stands where the encrypted password should be, it is an invalid token or a wrong password."""
    iserver = StationServer({}, SignIn(People()), sessions_max=1, open_to_programs=False)
    iserver.private_key = _key()
    session = SimpleNamespace(nonce=bytes(32), address="127.0.0.1")
    bases = {"xmlenc#rsa-1_5": XMLENC, "xmlenc#rsa-oaep": XMLENC, "rsa-oaep-sha2-256": OPC_SECURITY}
    token = ua.UserNameIdentityToken(UserName="anna", Password=word)
    token.EncryptionAlgorithm = bases.get(method, "") + method

    with pytest.raises(ServiceError) as refused:
        iserver.identify(session, token)  # type: ignore[arg-type]

    assert refused.value.code in (CODES.BadIdentityTokenInvalid, CODES.BadUserAccessDenied)


@cache
def _key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(public_exponent=65_537, key_size=2048)


def test_a_taken_port_is_one_sentence_and_is_tried_again(tmp_path: Path) -> None:
    """The station is DEGRADED until then, and the line goes on."""
    served = Served(tmp_path)
    taken = socket.create_server(("127.0.0.1", served.port))
    with taken, served:
        taken.close()
        served.wait(lambda: served.troubles[-1] == "")

    assert served.troubles[0] == (
        f"opcua: cannot listen on 127.0.0.1:{served.port} (Address already in use); stop the program that "
        "uses it, or set another opcua.endpoint"
    )


def test_without_its_extra_the_server_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One sentence, before anything is started."""
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)

    with pytest.raises(ConfigError, match=r"needs the extra \[opcua\]; install it: pip install"):
        Served(tmp_path)


def test_every_state_has_its_place_in_the_state_machines() -> None:
    """Only a station that judges is Ready or executes; the table in docs/plc.md."""
    for state in State:
        automatic = states.automatic_state(state, 0, triggered=True)
        assert (automatic is states.READY) == state.judging
        assert states.system_state(state, 0, triggered=True) in range(1, 7)
    assert states.automatic_state(State.READY, states.BUSY, triggered=True) is states.SINGLE
    assert states.automatic_state(State.READY, 0, triggered=False) is states.CONTINUOUS
    assert states.vision_state(State.FAULT) is states.ERROR


def test_a_verdict_never_waits_for_the_server(tmp_path: Path) -> None:
    """Publishing works before the server runs, after it, and from the line's thread."""
    served = Served(tmp_path)
    served.server.publish_verdict(verdict(1))
    with served:
        for seq in range(2, 300):
            served.server.publish_verdict(verdict(seq, Result.FAIL))
    thread = threading.Thread(target=served.server.publish_verdict, args=(verdict(300),))
    thread.start()
    thread.join(WAIT_S)

    assert not thread.is_alive()
