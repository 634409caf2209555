"""The broker as a place to connect to: credentials, our client id there, and the version it speaks."""

from collections.abc import Callable
from contextlib import suppress

from paho.mqtt.client import Client
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion

from linewatch.broker_settings import BrokerSettings
from linewatch.errors import BrokerLost, ConfigError, NotThereYet
from linewatch.mqtt.connection import CONNECT_S, INFLIGHT_MAX, WINDOW_S, LastWill, Session
from linewatch.mqtt.messages import CLIENT_ID_CHARACTERS, Incoming, shorten_client_id
from linewatch.mqtt.tls import tls_context


class Broker:
    """The broker's address, our client id there, and the protocol version that last worked.

    Raises ConfigError at once when a certificate or password file cannot be used; a missing one is awaited.
    """

    def __init__(
        self,
        settings: BrokerSettings,
        client_id: str,
        *,
        will: LastWill | None = None,
        ack_s: float = WINDOW_S,
        connect_s: float = CONNECT_S,
    ) -> None:
        self.address = settings.address
        self._settings = settings
        self._client_id = client_id
        self._will = will
        self._ack_s = ack_s
        self._connect_s = connect_s
        self._versions: list[MQTTProtocolVersion] = [
            MQTTProtocolVersion.MQTTv5,
            MQTTProtocolVersion.MQTTv311,
        ]  # The one that worked last comes first.
        self._inflight_max = INFLIGHT_MAX
        with suppress(NotThereYet):  # Named by every attempt to connect.
            settings.secret()
            tls_context(settings)

    def connect(self, on_message: Callable[[Incoming], None] = lambda _: None) -> Session:
        """Open a new connection, within a few seconds. Raises BrokerLost.

        `on_message` is called by `Session.pump` for every message of a subscription.
        """
        for version in list(self._versions):
            session = self._session(version, on_message)
            try:
                session.open()
            except BrokerLost as trouble:
                session.abort()
                refusal = trouble
                if session.client_id_refused and len(self._client_id) > CLIENT_ID_CHARACTERS:
                    self._client_id = shorten_client_id(self._client_id)
                    return self.connect(on_message)
                if not session.version_refused:
                    raise
                continue
            self._versions.sort(key=lambda other: other != version)
            if session.receive_max >= self._inflight_max:
                return session
            with session:  # Known only now, and paho needs it before it connects.
                self._inflight_max = session.receive_max
            return self.connect(on_message)
        raise refusal

    def _session(self, version: MQTTProtocolVersion, on_message: Callable[[Incoming], None]) -> Session:
        client = Client(
            CallbackAPIVersion.VERSION2,
            self._client_id,
            clean_session=None if version == MQTTProtocolVersion.MQTTv5 else True,
            protocol=version,
            reconnect_on_failure=False,
        )
        client.connect_timeout = self._connect_s
        client.max_inflight_messages_set(self._inflight_max)
        try:
            password, context = self._settings.secret(), tls_context(self._settings)
        except ConfigError as error:  # Not there yet, or being renewed.
            raise BrokerLost(self.address, str(error)) from error
        if self._settings.username:
            client.username_pw_set(self._settings.username, password or None)
        if context is not None:
            client.tls_set_context(context)
        if self._will is not None:
            will = self._will.message()
            client.will_set(will.topic, will.data, qos=1, retain=self._will.retain)
        return Session(
            self._settings,
            client,
            on_message=on_message,
            will=self._will,
            ack_s=self._ack_s,
            connect_s=self._connect_s,
        )
