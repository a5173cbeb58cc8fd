"""A TCP proxy that counts the messages of a conversation, and cuts it at one of them.

Messages are those of the frontend/backend protocol 3.0 (PostgreSQL manual, Message
Formats): a byte for the type, four for the length. They are counted from the moment
the proxy is told to, so that a connection can be set up in peace before.
"""

import ctypes
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Any, Literal, NamedTuple, Self

from psycopg.conninfo import make_conninfo

Direction = Literal["client", "server"]
"""Who sends the message."""

_SO_ATTACH_FILTER = 26  # asm-generic/socket.h; Python has no name for it


class Cut(NamedTuple):
    """Where a conversation ends: at the message of this number, from 1.

    The other side gets `part` of it: nothing, or the first half of its bytes.
    """

    direction: Direction
    number: int
    part: Literal["nothing", "half"] = "nothing"


class Message(NamedTuple):
    """One message that was seen: its type, and its bytes after the length."""

    kind: str
    body: bytes


@dataclass
class Conversation:
    """What both sides said since the proxy was told to count."""

    client: list[Message] = field(default_factory=list)
    server: list[Message] = field(default_factory=list)

    @property
    def commits(self) -> bool:
        """Whether the client has begun to send COMMIT, arrived or not."""
        return any(b"COMMIT" in message.body for message in self.client)


class Proxy:
    """Forwards connections to a server of this machine. A context manager."""

    def __init__(self, port: int) -> None:
        self._server = ("127.0.0.1", port)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listener.getsockname()[1]
        self._links: list[_Link] = []
        self._lock = threading.Lock()
        self._cut: Cut | None = None
        self._conversation: Conversation | None = None
        self._refusing = False
        self._thread = threading.Thread(target=self._accept, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join()
        for link in self._links:
            link.close()

    def through(self, uri: str, **parameters: Any) -> str:
        """How to reach the server of this URI through the proxy, in plain text."""
        return make_conninfo(
            uri,
            host="127.0.0.1",
            port=self.port,
            sslmode="disable",
            gssencmode="disable",
            **parameters,
        )

    @contextmanager
    def listening(self, cut: Cut | None = None) -> Iterator[Conversation]:
        """Count messages while the block runs; all connections end at the cut."""
        conversation = Conversation()
        with self._lock:
            self._conversation, self._cut = conversation, cut
        try:
            yield conversation
        finally:
            with self._lock:
                self._conversation = self._cut = None

    @contextmanager
    def refusing(self) -> Iterator[None]:
        """End new connections at once while the block runs, and those there are."""
        self._refusing = True
        self.cut()
        try:
            yield
        finally:
            self._refusing = False

    def cut(self) -> None:
        """End all connections now."""
        for link in self._links:
            link.end()

    def go_silent(self) -> None:
        """From now on, neither answer the clients nor acknowledge what they send.

        For them the other host is gone without a word: the kernel drops what arrives.
        """
        for link in self._links:
            link.go_silent()

    def seen(self, direction: Direction, message: Message) -> bytes | None:
        """Note a message; gives what to forward in its place before the end, or None.

        None is for the message as it is.
        """
        with self._lock:
            if self._conversation is None:
                return None
            messages = getattr(self._conversation, direction)
            messages.append(message)
            cut = self._cut
            if cut is None or (direction, len(messages)) != cut[:2]:
                return None
            if cut.part == "nothing":
                return b""
            whole = _as_bytes(message)
            return whole[: len(whole) // 2]

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            if self._refusing:
                client.close()
                continue
            try:
                server = socket.create_connection(self._server)
            except OSError:
                client.close()
                continue
            self._links.append(_Link(self, client, server))


class _Link:
    """One connection of a client, and that of the proxy to the server for it."""

    def __init__(
        self, proxy: Proxy, client: socket.socket, server: socket.socket
    ) -> None:
        self._proxy = proxy
        self._client, self._server = client, server
        self._silent = False
        for side in (client, server):
            side.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        ways = (("client", client, server), ("server", server, client))
        self._threads = [
            threading.Thread(target=self._forward, args=way, daemon=True)
            for way in ways
        ]
        for thread in self._threads:
            thread.start()

    def end(self) -> None:
        """End both connections."""
        for side in (self._client, self._server):
            with suppress(OSError):
                side.shutdown(socket.SHUT_RDWR)

    def close(self) -> None:
        """End both, and give back what they took."""
        self.end()
        for thread in self._threads:
            thread.join()
        self._client.close()
        self._server.close()

    def go_silent(self) -> None:
        """See `Proxy.go_silent`."""
        self._silent = True
        # A classic BPF program of one instruction, "return 0": accept no byte.
        instruction = ctypes.create_string_buffer(struct.pack("HBBI", 0x06, 0, 0, 0))
        program = struct.pack("HL", 1, ctypes.addressof(instruction))
        self._client.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)

    def _forward(
        self, direction: Direction, source: socket.socket, target: socket.socket
    ) -> None:
        # The first message of a client has no type.
        untyped = direction == "client"
        received = b""
        with suppress(OSError):
            while chunk := source.recv(65536):
                received += chunk
                while message := _first(received, untyped=untyped):
                    received = received[len(_as_bytes(message)) :]
                    untyped = False
                    instead = self._proxy.seen(direction, message)
                    if self._silent:
                        continue
                    target.sendall(_as_bytes(message) if instead is None else instead)
                    if instead is not None:
                        # What was forwarded arrives before the end does.
                        self.end()
                        return
        if not self._silent:
            self.end()


def _first(received: bytes, *, untyped: bool) -> Message | None:
    """The first message in these bytes, if it is complete."""
    kind, rest = ("", received) if untyped else (received[:1].decode(), received[1:])
    if len(rest) < 4:
        return None
    (length,) = struct.unpack_from("!I", rest)
    return Message(kind, rest[4:length]) if len(rest) >= length else None


def _as_bytes(message: Message) -> bytes:
    return (
        message.kind.encode() + struct.pack("!I", len(message.body) + 4) + message.body
    )
