"""The primary host application: whether it is online, as its STATE messages say. No I/O."""

import json


class PrimaryHost:
    """Follows the STATE messages of one host (Sparkplug 3.0.0, 5.4): one older than the newest is ignored."""

    def __init__(self) -> None:
        self._newest_ms = 0
        self.online = False

    def receive(self, payload: bytes) -> bool:
        """Take a STATE payload; return whether it is one, be it old or new."""
        try:
            facts = json.loads(payload)
        except (ValueError, RecursionError):
            return False
        if not isinstance(facts, dict):
            return False
        online, ms = facts.get("online"), facts.get("timestamp")
        if not isinstance(online, bool) or not isinstance(ms, int) or isinstance(ms, bool) or ms < 0:
            return False
        if ms >= self._newest_ms:
            self._newest_ms, self.online = ms, online
        return True

    def forget(self) -> None:
        """Take the host for offline until the broker says otherwise, as in a new connection."""
        self.online = False
