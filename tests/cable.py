"""A TCP forwarder that stands for the network cable between daemon and broker."""

import socket
import threading
from types import TracebackType
from typing import Self


class Cable:
    """Forwards connections on `port` to a port of this machine while plugged in."""

    def __init__(self, target: int, *, plugged: bool = True) -> None:
        self._target = target
        self._plugged = plugged
        self._lock = threading.Lock()
        self._ends: list[socket.socket] = []
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]

    def __enter__(self) -> Self:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self.pull()

    def plug(self) -> None:
        """Forward connections."""
        with self._lock:
            self._plugged = True

    def pull(self) -> None:
        """Close all connections and refuse new ones."""
        with self._lock:
            self._plugged = False
            for end in self._ends:
                end.close()
            self._ends.clear()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
            except OSError:
                return  # Closed.
            with self._lock:
                if not self._plugged:
                    near.close()
                    continue
                far = socket.create_connection(("127.0.0.1", self._target))
                self._ends += [near, far]
            for source, sink in ((near, far), (far, near)):
                threading.Thread(target=self._forward, args=(source, sink), daemon=True).start()

    @staticmethod
    def _forward(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(65536):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            source.close()
            sink.close()
