"""A proxy in front of Redis that counts round trips."""

from __future__ import annotations

import contextlib
import selectors
import socket
import threading


class RoundTrips:
    """Passes bytes on, both ways, and counts how often a client spoke after it had been answered.

    However much is sent together is one round trip: that is what a pipeline saves, and what the network costs.
    """

    def __init__(self, port: int) -> None:
        """``port``: of the Redis on this machine."""
        self._target = port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._selector = selectors.DefaultSelector()
        self._peers: dict[socket.socket, socket.socket] = {}
        self._clients: set[socket.socket] = set()
        self._asking: set[socket.socket] = set()  # clients that have spoken and were not answered yet
        self._stop_here, self._stop_there = socket.socketpair()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self.count = 0

    @property
    def url(self) -> str:
        """Redis by way of this proxy."""
        return f"redis://127.0.0.1:{self._listener.getsockname()[1]}/0"

    def __enter__(self) -> RoundTrips:
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._selector.register(self._stop_there, selectors.EVENT_READ)
        self._thread.start()
        return self

    def __exit__(self, *exc: object) -> None:
        self._stop_here.close()
        self._thread.join()
        for each in [*self._peers, self._listener, self._stop_there]:
            each.close()
        self._selector.close()

    def _run(self) -> None:
        while True:
            for key, _ in self._selector.select():
                ready = key.fileobj
                assert isinstance(ready, socket.socket)
                if ready is self._stop_there:
                    return
                if ready is self._listener:
                    self._accept()
                elif ready in self._peers:  # not closed by its peer's turn a moment ago
                    self._pass_on(ready)

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        server = socket.create_connection(("127.0.0.1", self._target))
        for one, other in ((client, server), (server, client)):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._peers[one] = other
            self._selector.register(one, selectors.EVENT_READ)
        self._clients.add(client)

    def _pass_on(self, source: socket.socket) -> None:
        target = self._peers[source]
        try:
            data = source.recv(1 << 20)
            if data:
                target.sendall(data)
        except OSError:
            data = b""
        if not data:
            for each in (source, target):
                del self._peers[each]
                self._clients.discard(each)
                self._asking.discard(each)
                self._selector.unregister(each)
                with contextlib.suppress(OSError):
                    each.close()
        elif source in self._clients:
            if source not in self._asking:
                self._asking.add(source)
                self.count += 1
        else:
            self._asking.discard(target)
