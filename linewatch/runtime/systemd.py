"""Notify systemd of readiness, stopping and progress (sd_notify(3))."""

import os
import socket


def notify(*lines: str) -> bool:
    """Send state lines such as "READY=1" to the service manager.

    Returns False when there is none (outside systemd) or it does not take the datagram now.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]  # An abstract socket.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
        try:
            # A slow service manager must not block the line.
            link.sendto("\n".join(lines).encode(), socket.MSG_DONTWAIT, address)
        except OSError:
            return False  # Busy or restarting; the next notification will arrive.
    return True
