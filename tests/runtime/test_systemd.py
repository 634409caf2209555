import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from linewatch.runtime.systemd import notify


@pytest.fixture
def manager(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """Bind a notification socket as systemd does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(str(tmp_path / "notify"))
        listener.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        yield listener


def test_all_lines_arrive_in_one_datagram(manager: socket.socket) -> None:
    """The lines of one call are one datagram."""
    assert notify("READY=1", "STATUS=judging")
    assert notify("WATCHDOG=1")

    assert [manager.recv(100), manager.recv(100)] == [b"READY=1\nSTATUS=judging", b"WATCHDOG=1"]


def test_an_abstract_socket_is_reached_by_its_at_sign(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """`@` stands for an abstract socket, as containers and user managers use."""
    name = f"linewatch-test{tmp_path}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listener:
        listener.bind(f"\0{name}")
        listener.settimeout(5)
        monkeypatch.setenv("NOTIFY_SOCKET", f"@{name}")

        assert notify("READY=1")
        assert listener.recv(100) == b"READY=1"


@pytest.mark.parametrize("address", [None, ""])
def test_outside_systemd_nothing_happens(monkeypatch: pytest.MonkeyPatch, address: str | None) -> None:
    """Without NOTIFY_SOCKET, as on a terminal, nothing is sent."""
    monkeypatch.delenv("NOTIFY_SOCKET", raising=False)
    if address is not None:
        monkeypatch.setenv("NOTIFY_SOCKET", address)

    assert not notify("READY=1")


def test_a_manager_that_went_away_ends_nothing(manager: socket.socket) -> None:
    """A closed socket is no error."""
    manager.close()

    assert not notify("WATCHDOG=1")


def test_a_manager_that_does_not_read_holds_up_nothing(manager: socket.socket) -> None:
    """A full socket queue costs a notification and never blocks."""
    sent = 0
    while notify("WATCHDOG=1"):
        sent += 1

    assert sent > 0
    assert manager.recv(100) == b"WATCHDOG=1"
