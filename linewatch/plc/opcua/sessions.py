"""Sessions, their users and their subscriptions, within bounds."""

import contextvars
import math
import struct
from collections.abc import Callable, Sequence
from typing import Any, Protocol

from asyncua import ua
from asyncua.common.utils import ServiceError
from asyncua.crypto.permission_rules import User, UserRole
from asyncua.server.internal_server import InternalServer
from asyncua.server.internal_session import InternalSession, SessionState
from asyncua.server.internal_subscription import InternalSubscription
from asyncua.server.subscription_service import SubscriptionService

from linewatch.plc.adapter import SignIn
from linewatch.plc.opcua import bounds
from linewatch.plc.opcua.core_nodes import Nodes
from linewatch.plc.opcua.events import Fields
from linewatch.plc.opcua.view import PassValue

CODES = ua.StatusCodes
caller: contextvars.ContextVar["Session | None"] = contextvars.ContextVar("caller", default=None)
"""The session whose method call is carried out."""


class Access(Protocol):
    """What of the view a subscription needs before it sends."""

    async def update(self) -> None:
        """Bring all nodes up to date."""

    def stands(self, number: int) -> bool:
        """Whether a queued PASS may still be sent."""


class Session(InternalSession):
    """One client's session. `who` is "" while it may read only."""

    max_connections = 1_000_000  # asyncua counts for all servers of a process; ours counts its own.
    who = ""
    address = ""

    async def create_session(self, params: ua.CreateSessionParameters, sockname: Any = None) -> Any:
        """Refuse an empty or long name; asyncua does the rest."""
        result = await super().create_session(params, sockname)
        result.MaxRequestMessageSize = bounds.MESSAGE_BYTES_MAX
        return result

    def activate_session(self, params: ua.ActivateSessionParameters, peer_certificate: bytes | None) -> Any:
        """Sign the user in. Raises ServiceError."""
        server: StationServer = self.iserver
        who = server.identify(self, params.UserIdentityToken)
        result = super().activate_session(params, peer_certificate)
        self.who = who
        return result

    async def read(self, params: ua.ReadParameters) -> Any:
        """Read values that are all of this moment."""
        _limit(params.NodesToRead)
        await self.iserver.access.update()
        return await super().read(params)

    async def browse(self, params: ua.BrowseParameters) -> Any:
        """Browse within bounds."""
        _limit(params.NodesToBrowse)
        return await super().browse(params)

    async def write(self, params: ua.WriteParameters) -> Any:
        """Refuse each value: commands are methods."""
        _limit(params.NodesToWrite)
        return [ua.StatusCode(CODES.BadNotWritable) for _ in params.NodesToWrite]

    async def translate_browsepaths_to_nodeids(self, params: list[ua.BrowsePath]) -> Any:
        """Translate within bounds."""
        _limit(params)
        return await super().translate_browsepaths_to_nodeids(params)

    async def call(self, params: list[ua.CallMethodRequest]) -> Any:
        """Call methods in the name of this session."""
        _limit(params)
        token = caller.set(self)
        try:
            return await super().call(params)
        finally:
            caller.reset(token)

    async def create_subscription(
        self, params: Any, callback: Callable[..., Any], request_callback: Callable[..., Any] | None = None
    ) -> Any:
        """Create a subscription whose interval is within bounds."""
        if len(self._subscriptions()) >= bounds.SUBSCRIPTIONS_EACH:
            raise ServiceError(CODES.BadTooManySubscriptions)
        least, most = bounds.PUBLISHING_MS
        wanted = params.RequestedPublishingInterval
        params.RequestedPublishingInterval = least if math.isnan(wanted) else min(max(wanted, least), most)
        return await super().create_subscription(params, callback, request_callback)

    async def create_monitored_items(self, params: ua.CreateMonitoredItemsParameters) -> Any:
        """Monitor values or events within bounds."""
        self._own(params.SubscriptionId)
        _limit(params.ItemsToCreate)
        held = sum(len(one.monitored_item_srv._monitored_items) for one in self._subscriptions())
        if held + len(params.ItemsToCreate) > bounds.ITEMS_EACH:
            raise ServiceError(CODES.BadTooManyMonitoredItems)
        await self.iserver.access.update()
        return await super().create_monitored_items(params)

    async def modify_monitored_items(self, params: Any) -> Any:
        """Modify items of an own subscription."""
        self._own(params.SubscriptionId)
        _limit(params.ItemsToModify)
        for item in params.ItemsToModify:
            wanted = item.RequestedParameters.QueueSize or bounds.QUEUE_MAX
            item.RequestedParameters.QueueSize = min(wanted, bounds.QUEUE_MAX)
        return await super().modify_monitored_items(params)

    async def delete_subscriptions(self, ids: list[int]) -> Any:
        """Delete own subscriptions."""
        for subscription in ids:
            self._own(subscription)
        return await super().delete_subscriptions(ids)

    async def delete_monitored_items(self, params: Any) -> Any:
        """Delete items of an own subscription."""
        self._own(params.SubscriptionId)
        return await super().delete_monitored_items(params)

    async def set_monitoring_mode(self, params: Any) -> Any:
        """Set the mode of items of an own subscription."""
        self._own(params.SubscriptionId)
        return await super().set_monitoring_mode(params)

    async def set_publishing_mode(self, params: Any) -> Any:
        """Start or stop publishing own subscriptions."""
        for subscription in params.SubscriptionIds:
            self._own(subscription)
        return await super().set_publishing_mode(params)

    def republish(self, params: ua.RepublishParameters) -> Any:
        """Refuse: what was not received in time is not sent again."""
        del params
        raise ServiceError(CODES.BadMessageNotAvailable)

    async def transfer_subscriptions(self, params: Any, callback: Callable[..., Any]) -> Any:
        """Refuse: a subscription ends with its connection, and with it what it had queued."""
        del callback
        code = ua.StatusCode(CODES.BadSubscriptionIdInvalid)
        return [ua.TransferResult(StatusCode=code) for _ in params.SubscriptionIds]

    def _subscriptions(self) -> list[Any]:
        held = self.subscription_service.subscriptions.values()
        return [subscription for subscription in held if subscription.session_id == self.session_id]

    def _own(self, number: int) -> None:
        subscription = self.subscription_service.subscriptions.get(number)
        if subscription is None or subscription.session_id != self.session_id:
            raise ServiceError(CODES.BadSubscriptionIdInvalid)


class Subscription(InternalSubscription):
    """Sends no PASS that was withdrawn while it was queued."""

    access: Access

    async def publish_results(self, requestdata: Any = None) -> Any:
        """Bring the nodes up to date, then publish."""
        await self.access.update()
        return await super().publish_results(requestdata)

    def _pop_triggered_datachanges(self, result: ua.PublishResult) -> None:
        for mid, queued in list(self._triggered_datachanges.items()):
            kept = [item for item in queued if self._may_be_sent(item.Value)]
            self._triggered_datachanges[mid] = kept
            if not kept:
                del self._triggered_datachanges[mid]
        super()._pop_triggered_datachanges(result)

    def _pop_triggered_events(self, result: ua.PublishResult) -> None:
        for mid, queued in list(self._triggered_events.items()):
            kept = [item for item in queued if self._may_be_sent(item.EventFields)]
            self._triggered_events[mid] = kept
            if not kept:
                del self._triggered_events[mid]
        super()._pop_triggered_events(result)

    def _may_be_sent(self, content: Any) -> bool:
        number = content.number if isinstance(content, PassValue | Fields) else 0
        return not number or self.access.stands(number)


class Subscriptions(SubscriptionService):
    """Makes our subscriptions; asyncua's service names its own class."""

    async def create_subscription(
        self,
        params: Any,
        callback: Callable[..., Any],
        session_id: ua.NodeId,
        request_callback: Callable[..., Any] | None = None,
    ) -> Any:
        """Create a subscription and give it the view."""
        result = await super().create_subscription(params, callback, session_id, request_callback)
        made = self.subscriptions[result.SubscriptionId]
        made.__class__ = Subscription
        made.access = self.iserver.access
        return result


class StationServer(InternalServer):
    """asyncua's server without its network: nodes, sessions, subscriptions, within bounds."""

    access: Access

    def __init__(self, nodes: Nodes, sign_in: SignIn, *, sessions_max: int, open_to_programs: bool) -> None:
        super().__init__()
        self._nodes = nodes
        self._sign_in = sign_in
        self._sessions_max = sessions_max
        self._open_to_programs = open_to_programs
        self.subscription_service = Subscriptions(self.aspace, iserver=self)
        self.isession.subscription_service = self.subscription_service
        self.user_manager = _Users()
        self.min_session_timeout_ms, self.max_session_timeout_ms = bounds.SESSION_MS
        self.max_unacked_messages_per_subscription = bounds.UNACKNOWLEDGED_MAX
        self.max_monitored_item_queue_size = bounds.QUEUE_MAX
        self.max_pending_messages_per_connection = bounds.PENDING_MAX
        self.max_pending_activation_seconds = 0  # The connections have their own watch.
        self.max_connections = sessions_max + bounds.SPARE_CONNECTIONS
        self.max_lifetime_count, self.max_keep_alive_count = bounds.LIFETIME_MAX, bounds.KEEP_ALIVES_MAX
        self.max_subscriptions = sessions_max * bounds.SUBSCRIPTIONS_EACH
        tokens = [ua.UserNameIdentityToken, *([ua.AnonymousIdentityToken] if open_to_programs else [])]
        self.supported_tokens = tuple(tokens)

    async def load_standard_address_space(self, shelf_file: Any = None) -> None:
        """Take the nodes that were built before."""
        del shelf_file
        self.aspace._nodes = self._nodes

    @property
    def sessions(self) -> list[Session]:
        """The clients' sessions that are signed in."""
        return [session for session in self._external_sessions.values() if session.is_activated()]

    def create_session(self, name: Any, user: User | None = None, external: bool = False) -> Session:
        """Create a session. Raises ServiceError when there are too many."""
        if external and len(self._external_sessions) >= self._sessions_max:
            raise ServiceError(CODES.BadTooManySessions)
        made = Session(
            self, self.aspace, self.subscription_service, name, user=user or _ANYBODY, external=external
        )
        made.address = str(name[0]) if isinstance(name, tuple) else ""
        return made

    def identify(self, session: Session, token: Any) -> str:
        """Return who a token is of, "" for one that may read only. Raises ServiceError."""
        if isinstance(token, ua.UserNameIdentityToken):
            name, password = self._credentials(session, token)
            who = self._sign_in.check(name, password, session.address)
            if not who:
                raise ServiceError(CODES.BadUserAccessDenied)
            return who
        anonymous = token is None or isinstance(token, ua.AnonymousIdentityToken | ua.ExtensionObject)
        if not (anonymous and self._open_to_programs):
            raise ServiceError(CODES.BadIdentityTokenRejected)
        return "" if self._sign_in.has_users() else "opcua"

    def _credentials(self, session: Session, token: ua.UserNameIdentityToken) -> tuple[str, str]:
        try:
            name, password = self.decrypt_user_token(session, token)
        except (ua.UaError, ValueError, TypeError, struct.error) as error:  # All that wrong bytes raise.
            raise ServiceError(CODES.BadIdentityTokenInvalid) from error
        return str(name or ""), str(password or "")


class _Users:
    """Gives every user the rights of one; who may command is decided by method."""

    def get_user(self, *_args: Any, **_named: Any) -> User:
        """Return a user that can change no node."""
        return _ANYBODY


_ANYBODY = User(role=UserRole.User)


def _limit(operations: Sequence[Any]) -> None:
    if len(operations) > bounds.OPERATIONS_MAX:
        raise ServiceError(CODES.BadTooManyOperations)


def is_closed(session: Session | None) -> bool:
    """Whether a connection may create a session."""
    return session is None or session.state is SessionState.Closed
