"""Bind the address that a server listens on."""

import socket


def bind(host: str, port: int, backlog: int) -> socket.socket:
    """Return a socket that listens, for IPv4 as well where `host` is "::".

    Raises OSError; its `strerror` does not repeat the address.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    both = host == "::" and socket.has_dualstack_ipv6()
    try:
        return socket.create_server((host, port), family=family, backlog=backlog, dualstack_ipv6=both)
    except OSError as error:
        error.strerror = str(error.strerror).partition(" (while")[0]
        raise
