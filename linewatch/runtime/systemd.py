"""What systemd wants to hear: readiness, stopping, and that the work goes on (sd_notify(3))."""

import os
import socket


def notify(*lines: str) -> bool:
    """Send state lines such as "READY=1" to the service manager.

    Returns False when nobody listens, which is the normal case outside systemd.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return False
    if address.startswith("@"):
        address = "\0" + address[1:]  # An abstract socket.
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as link:
        try:
            # A manager that is slow to read must not hold up the line.
            link.sendto("\n".join(lines).encode(), socket.MSG_DONTWAIT, address)
        except OSError:
            return False  # It is busy or restarting; the next line will do.
    return True
