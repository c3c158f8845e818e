"""WebSockets on uvicorn's wsproto, kept to the letter of RFC 6455 and 7692 where the two of them are not."""

from __future__ import annotations

import base64
import binascii
from dataclasses import replace
from typing import TYPE_CHECKING

from uvicorn.protocols.utils import ClientDisconnected
from uvicorn.protocols.websockets.wsproto_impl import WSProtocol
from wsproto import ConnectionType, WSConnection
from wsproto.connection import ConnectionState
from wsproto.events import (
    AcceptConnection,
    BytesMessage,
    CloseConnection,
    Event,
    RejectConnection,
    Request,
    TextMessage,
)
from wsproto.extensions import PerMessageDeflate
from wsproto.frame_protocol import CloseReason, FrameDecoder, FrameProtocol, Opcode, RsvBits

if TYPE_CHECKING:
    from uvicorn._types import ASGISendEvent

MESSAGE_BYTES_MAX = 128 * 2**20  # a turn with inlined images; clients send it in one message
LINGER_S = 1.0  # for a client in the middle of a long message to notice
KEY_BYTES = 16
INFLATE_BYTES = 1024  # of compressed data at a time: they become 1 MiB at most
WINDOW_BITS = range(8, 16)
FLAGS = ("client_no_context_takeover", "server_no_context_takeover")
WINDOWS = ("client_max_window_bits", "server_max_window_bits")


class WebSocketProtocol(WSProtocol):
    """uvicorn's, except that a client who breaks the rules is told so, and gets to read it (RFC 6455, 7.1.7 and 7.1.1)."""

    def connection_made(self, transport: object) -> None:
        super().connection_made(transport)  # type: ignore[arg-type]
        self.conn = _Conversation(ConnectionType.SERVER)
        self._has_failed = False

    def data_received(self, data: bytes) -> None:
        """What a client sends on after it broke the rules is thrown away."""
        if not self._has_failed:
            super().data_received(data)

    def handle_connect(self, event: Request) -> None:
        """A handshake whose key is no key gets 400 (RFC 6455, 4.2.1)."""
        if is_key(dict(event.extra_headers).get(b"sec-websocket-key", b"")):
            super().handle_connect(event)
            return
        self.transport.write(self.conn.send(RejectConnection(status_code=400)))
        self.transport.close()

    def handle_message(self, event: TextMessage | BytesMessage) -> None:
        """Messages have a size."""
        if self.buffer.length + len(event.data) > MESSAGE_BYTES_MAX:
            self.buffer.clear()
            self._fail(CloseReason.MESSAGE_TOO_BIG, f"The message is larger than {MESSAGE_BYTES_MAX} bytes")
            return
        super().handle_message(event)

    def handle_close(self, event: CloseConnection) -> None:
        """wsproto also calls it a close when the client breaks the protocol; uvicorn would hang up without a word."""
        if self.conn.state is ConnectionState.OPEN:
            self._fail(event.code, event.reason or "")
        else:
            super().handle_close(event)

    async def send(self, message: ASGISendEvent) -> None:
        """Raises ClientDisconnected, an OSError, once the client has broken the rules."""
        if self._has_failed:
            raise ClientDisconnected
        await super().send(message)

    def _fail(self, code: int, reason: str) -> None:
        """Says why and hangs up by halves: were unread data left behind a close, the client's kernel would drop our word."""
        self._has_failed = self.close_sent = True
        self.stop_keepalive()
        self.queue.put_nowait({"type": "websocket.disconnect", "code": code, "reason": reason})
        if self.transport.is_closing():
            return
        self.transport.write(self.conn.send(CloseConnection(code, reason)))
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.transport.resume_reading()
        self.close_timer = self.loop.call_later(LINGER_S, self.transport.close)


class _Conversation(WSConnection):
    """wsproto's, with compression of our own."""

    def send(self, event: Event) -> bytes:
        if isinstance(event, AcceptConnection):
            event = replace(event, extensions=[Deflate()])
        return super().send(event)


class Deflate(PerMessageDeflate):
    """wsproto's permessage-deflate, made to bear pings between fragments, odd offers and messages that never end."""

    def __init__(self) -> None:
        super().__init__()
        self._is_control = False
        self._message_bytes = 0

    def accept(self, offer: str) -> bool | str | None:
        """Declines what it does not understand (RFC 7692, 5.1); the first offer that suits is taken."""
        return super().accept(offer) if not self.enabled() and is_offer(offer) else None

    def frame_inbound_header(
        self, proto: FrameDecoder | FrameProtocol, opcode: Opcode, rsv: RsvBits, payload_length: int
    ) -> CloseReason | RsvBits:
        """A control frame is never compressed, and leaves the message alone that it stands in."""
        self._is_control = opcode.iscontrol()
        if self._is_control:
            return RsvBits(rsv1=False, rsv2=False, rsv3=False)
        return super().frame_inbound_header(proto, opcode, rsv, payload_length)

    def frame_inbound_payload_data(self, proto: FrameDecoder | FrameProtocol, data: bytes) -> bytes | CloseReason:
        """Unpacks a little at a time: whoever sends a bomb is stopped at the limit, not behind it."""
        if self._is_control:
            return data
        plain = bytearray()
        for start in range(0, len(data), INFLATE_BYTES):
            piece = super().frame_inbound_payload_data(proto, data[start : start + INFLATE_BYTES])
            if isinstance(piece, CloseReason):
                return piece
            plain += piece
            if self._message_bytes + len(plain) > MESSAGE_BYTES_MAX:
                return CloseReason.MESSAGE_TOO_BIG
        self._message_bytes += len(plain)
        return bytes(plain)

    def frame_inbound_complete(self, proto: FrameDecoder | FrameProtocol, fin: bool) -> bytes | CloseReason | None:
        """Ends a frame, and with `fin` the message."""
        if self._is_control:
            return None
        if fin:
            self._message_bytes = 0
        return super().frame_inbound_complete(proto, fin)


def is_key(key: bytes) -> bool:
    """Whether it is 16 bytes in base64."""
    try:
        return len(base64.b64decode(key.strip(), validate=True)) == KEY_BYTES
    except binascii.Error:
        return False


def is_offer(offer: str) -> bool:
    """Whether every parameter is one of RFC 7692, with a value where one belongs."""
    for parameter in offer.split(";")[1:]:
        name, has_value, value = (part.strip() for part in parameter.partition("="))
        value = value.strip('"')
        is_window = value.isdecimal() and int(value) in WINDOW_BITS
        if not (
            (name in FLAGS and not has_value)
            or (name in WINDOWS and has_value and is_window)
            or (name == WINDOWS[0] and not has_value)
        ):
            return False
    return True
