"""The gateway's WebSockets beside RFC 6455 and RFC 7692, on raw sockets: what Autobahn's test suite asks, and some more."""

from __future__ import annotations

import asyncio
import json
import time
import zlib
from collections.abc import AsyncIterator

import psutil
import pytest

from tests.support.pair import Pair, start_pair
from tests.support.raw_websocket import (
    ACCEPT,
    BINARY,
    CLOSE,
    CONTINUATION,
    EMPTY,
    PING,
    PONG,
    RSV1,
    RSV2,
    RSV3,
    TEXT,
    Frame,
    Inflater,
    RawWebSocket,
    close,
    connected,
    deflated,
    fragments,
    frame,
    handshake,
    opened,
    text,
)
from tests.support.upstream import Upstream

NATIVE, PUBLIC = "/backend-api/codex/responses", "/v1/responses"
DEFLATE = "permessage-deflate"
SAID = "Grüße, 世界 😀"
TURN = json.dumps({"type": "response.create", "model": "gpt-5.5", "input": f"<<say:{SAID}>>"}, ensure_ascii=False)
TURN_BYTES = TURN.encode()
MESSAGE_BYTES_MAX = 128 * 2**20
ALIVE = b"still alive?"


@pytest.fixture(scope="module")
async def gateway(upstream: Upstream, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Pair]:
    """One for the whole file: no case may leave a trace."""
    await upstream.reset(accounts=True)
    async with start_pair(upstream, tmp_path_factory.mktemp("gateway")) as pair:
        await pair.add("a")
        yield pair


async def answers(socket: RawWebSocket) -> list[dict[str, object]]:
    """What was said until a ping of ours is answered, or a turn has ended."""
    await socket.send(frame(PING, ALIVE))
    return [json.loads(came.payload) for came in await socket.until(PONG, ALIVE) if came.opcode == TEXT]


async def turn_text(socket: RawWebSocket) -> str:
    """The text of the answer to one turn."""
    said = ""
    while (came := await socket.frame()) is not None:
        if came.opcode != TEXT:
            continue
        event = json.loads(came.payload)
        if event["type"] == "response.output_text.delta":
            said += event["delta"]
        if event["type"] in ("response.completed", "response.failed", "error"):
            assert event["type"] == "response.completed", event
            return said
    raise AssertionError("the connection ended")


# --- The handshake


@pytest.mark.parametrize("path", [NATIVE, PUBLIC])
async def test_a_handshake_is_answered_with_the_key_s_digest_and_without_what_was_not_asked_for(
    gateway: Pair, path: str
) -> None:
    async with opened(gateway.base_url, handshake(path)) as socket:
        answer = socket.answer

    assert (answer.status, answer.headers["sec-websocket-accept"]) == (101, ACCEPT)
    assert (answer.headers["upgrade"].lower(), answer.headers["connection"].lower()) == ("websocket", "upgrade")
    assert not {"sec-websocket-extensions", "sec-websocket-protocol"} & set(answer.headers)


@pytest.mark.parametrize(
    "changed",
    [
        {"Connection": "keep-alive, Upgrade"},
        {"Connection": "upgrade"},
        {"Upgrade": "WebSocket"},
        {"Sec-WebSocket-Protocol": "chat, superchat"},
        {"Sec-WebSocket-Extensions": "x-unheard-of; of=it"},
        {"Sec-WebSocket-Extensions": f"{DEFLATE}; server_max_window_bits=99"},
        {"Sec-WebSocket-Extensions": f"{DEFLATE}; server_max_window_bits=few"},
        {"Sec-WebSocket-Extensions": f"{DEFLATE}; server_max_window_bits"},
        {"Sec-WebSocket-Extensions": f"{DEFLATE}; client_max_window_bits=7"},
        {"Sec-WebSocket-Extensions": f"{DEFLATE}; unheard_of=1"},
    ],
    ids=str,
)
async def test_a_handshake_may_ask_for_more_than_it_gets(gateway: Pair, changed: dict[str, str]) -> None:
    async with opened(gateway.base_url, handshake(PUBLIC, changed)) as socket:
        assert socket.answer.status == 101
        assert not {"sec-websocket-extensions", "sec-websocket-protocol"} & set(socket.answer.headers)
        assert await answers(socket) == []


@pytest.mark.parametrize(
    ("offer", "agreed"),
    [
        (DEFLATE, ""),
        (f"{DEFLATE}; client_max_window_bits", "client_max_window_bits=15"),
        (f"{DEFLATE}; client_max_window_bits=9; server_max_window_bits=10", "client_max_window_bits=9; server_max_window_bits=10"),
        (f"{DEFLATE}; server_no_context_takeover; client_no_context_takeover", "client_no_context_takeover; server_no_context_takeover"),
        (f"{DEFLATE}; server_max_window_bits=99, {DEFLATE}", ""),
        (f"x-unheard-of, {DEFLATE}", ""),
    ],
)  # fmt: skip
async def test_compression_is_agreed_on_as_offered(gateway: Pair, offer: str, agreed: str) -> None:
    async with opened(gateway.base_url, handshake(PUBLIC, {"Sec-WebSocket-Extensions": offer})) as socket:
        name, _, parameters = socket.answer.headers["sec-websocket-extensions"].partition("; ")

    assert (socket.answer.status, name, parameters) == (101, DEFLATE, agreed)


@pytest.mark.parametrize(
    ("changed", "status"),
    [
        ({"Sec-WebSocket-Version": None}, 400),
        ({"Sec-WebSocket-Version": "8"}, 426),
        ({"Sec-WebSocket-Version": "thirteen"}, 426),
        ({"Sec-WebSocket-Key": None}, 400),
        ({"Sec-WebSocket-Key": ""}, 400),
        ({"Sec-WebSocket-Key": "dG9vIHNob3J0"}, 400),
        ({"Sec-WebSocket-Key": "no base64, though long en"}, 400),
        ({"Host": None}, 400),
        ({"Connection": "keep-alive"}, 405),
        ({"Upgrade": "h2c"}, 405),
    ],
    ids=str,
)
async def test_a_handshake_that_is_none_is_refused(gateway: Pair, changed: dict[str, str | None], status: int) -> None:
    async with opened(gateway.base_url, handshake(PUBLIC, changed)) as socket:
        assert socket.answer.status == status
        assert socket.answer.headers.get("sec-websocket-version", "13") == "13"

    if status == 426:
        assert "sec-websocket-version" in socket.answer.headers


@pytest.mark.parametrize("method", ["POST", "PUT", "HEAD"])
async def test_only_a_get_opens_a_websocket(gateway: Pair, method: str) -> None:
    async with opened(gateway.base_url, handshake(PUBLIC, method=method)) as socket:
        assert 400 <= socket.answer.status < 500


async def test_there_are_websockets_only_where_they_are_served(gateway: Pair) -> None:
    async with opened(gateway.base_url, handshake("/v1/chat/completions")) as socket:
        assert 400 <= socket.answer.status < 500


async def test_frames_sent_with_the_handshake_do_no_harm(gateway: Pair) -> None:
    async with opened(gateway.base_url, handshake(PUBLIC) + frame(PING, b"too early")):
        pass

    async with connected(gateway.base_url, PUBLIC) as socket:
        assert await answers(socket) == []


# --- Messages


async def test_a_text_may_be_split_anywhere_even_inside_a_character(gateway: Pair) -> None:
    start = TURN_BYTES.index("Grü".encode()) - 2

    async with connected(gateway.base_url, PUBLIC) as socket:
        for at in (0, 1, *range(start, len(TURN_BYTES) + 1)):
            await socket.send(*fragments(TEXT, TURN_BYTES[:at], TURN_BYTES[at:]))
            assert await turn_text(socket) == SAID, at


@pytest.mark.parametrize("size", [1, 2, 3, 5, 8, 64])
async def test_a_text_may_come_in_many_fragments_with_pings_between(gateway: Pair, size: int) -> None:
    parts = [TURN_BYTES[n : n + size] for n in range(0, len(TURN_BYTES), size)]

    async with connected(gateway.base_url, PUBLIC) as socket:
        for number, fragment in enumerate(fragments(TEXT, *parts)):
            await socket.send(fragment, frame(PING, str(number).encode()), frame(PONG))
        assert await turn_text(socket) == SAID

    pongs = [came.payload for came in socket.seen if came.opcode == PONG]
    assert pongs == [str(number).encode() for number in range(len(parts))]


@pytest.mark.parametrize("size", [1, 2, 7])
async def test_frames_may_come_in_any_pieces(gateway: Pair, size: int) -> None:
    data = frame(PING, b"within") + b"".join(fragments(TEXT, TURN_BYTES[:50], b"", TURN_BYTES[50:]))

    async with connected(gateway.base_url, PUBLIC) as socket:
        for n in range(0, len(data), size):
            await socket.send(data[n : n + size])
            await asyncio.sleep(0)
        assert await turn_text(socket) == SAID

    assert socket.seen[0] == Frame(PONG, b"within")


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(frame(BINARY, b"\x00\xff"), id="binary"),
        pytest.param(frame(BINARY), id="empty binary"),
        pytest.param(b"".join(fragments(BINARY, b"\xff", b"", b"\xfe")), id="binary in fragments"),
        pytest.param(text(""), id="empty text"),
        pytest.param(b"".join(fragments(TEXT, b"", b"", b"")), id="empty fragments"),
        pytest.param(text(" " * 125), id="125 bytes"),
        pytest.param(text(" " * 126), id="126 bytes"),
        pytest.param(text(" " * 65535), id="65535 bytes"),
        pytest.param(text(" " * 65536), id="65536 bytes"),
        pytest.param(text(b"\xf4\x8f\xbf\xbf\xef\xbf\xbe\x00"), id="last code point, noncharacter, null"),
    ],
)
async def test_a_message_that_is_no_request_is_told_and_the_connection_lives(gateway: Pair, sent: bytes) -> None:
    async with connected(gateway.base_url, PUBLIC) as socket:
        await socket.send(sent)
        told = await answers(socket)
        while not told:  # the answer to the ping may come first
            told = await answers(socket)
        await socket.send(text(TURN))

        assert [(one["type"], one["status"]) for one in told] == [("error", 400)]
        assert await turn_text(socket) == SAID


# --- Pings


@pytest.mark.parametrize(
    "payload", [b"", b"hello", b"\x00\xff\xfe\xfd", b"x" * 125], ids=["empty", "text", "binary", "125 bytes"]
)
async def test_a_ping_is_answered_with_its_payload(gateway: Pair, payload: bytes) -> None:
    async with connected(gateway.base_url, NATIVE) as socket:
        await socket.send(frame(PING, payload))

        assert await socket.frame() == Frame(PONG, payload)


async def test_many_pings_are_answered_in_order_and_pongs_nobody_asked_for_are_not(gateway: Pair) -> None:
    async with connected(gateway.base_url, NATIVE) as socket:
        await socket.send(*(frame(PING, str(n).encode()) + frame(PONG, b"unasked") for n in range(100)))

        assert [await socket.frame() for _ in range(100)] == [Frame(PONG, str(n).encode()) for n in range(100)]
        assert await answers(socket) == []


# --- What breaks the protocol

PROTOCOL_ERRORS: dict[str, bytes] = {
    "a text without a mask": frame(TEXT, b"{}", is_masked=False),
    "a ping without a mask": frame(PING, b"hi", is_masked=False),
    "a close without a mask": frame(CLOSE, b"\x03\xe8", is_masked=False),
    **{
        f"reserved bits {bits:#04x} on opcode {opcode}": frame(opcode, b"", reserved=bits)
        for opcode, bits in [
            (TEXT, RSV1), (TEXT, RSV2), (TEXT, RSV3), (TEXT, RSV1 | RSV2 | RSV3), (BINARY, RSV2), (PING, RSV1),
            (PING, RSV3), (CLOSE, RSV1), (CONTINUATION, RSV2),
        ]
    },
    **{f"opcode {opcode}": frame(opcode, b"x") for opcode in (3, 4, 5, 6, 7, 11, 12, 13, 14, 15)},
    "a ping of 126 bytes": frame(PING, b"x" * 126),
    "a pong of 126 bytes": frame(PONG, b"x" * 126),
    "a close of 126 bytes": close(1000, b"x" * 124),
    "a ping in fragments": b"".join(fragments(PING, b"x", b"y")),
    "a pong in fragments": b"".join(fragments(PONG, b"x", b"y")),
    "a close in fragments": b"".join(fragments(CLOSE, b"\x03", b"\xe8")),
    "a continuation of nothing": frame(CONTINUATION, b"x"),
    "a continuation of nothing, unfinished": frame(CONTINUATION, b"x", is_final=False),
    "a continuation of a finished message": text("{}") + frame(CONTINUATION, b"x"),
    "a text inside a text": frame(TEXT, b"{", is_final=False) + text("}"),
    "a binary inside a text": frame(TEXT, b"{", is_final=False) + frame(BINARY, b"}"),
    "a text inside a binary": frame(BINARY, b"{", is_final=False) + text("}"),
    "a short length in two bytes": frame(TEXT, b"{}", length_bytes=2),
    "a short length in eight bytes": frame(TEXT, b"{}", length_bytes=8),
    "a length of 2^63": frame(TEXT, declared=2**63),
    "a length of 2^64 - 1": frame(BINARY, declared=2**64 - 1),
    "a close of one byte": frame(CLOSE, b"\x03"),
    **{
        f"a close with {code}": close(code)
        for code in (0, 1, 999, 1004, 1005, 1006, 1015, 1016, 1100, 2000, 2999, 5000, 65535)
    },
}  # fmt: skip


@pytest.mark.parametrize("sent", PROTOCOL_ERRORS.values(), ids=PROTOCOL_ERRORS)
async def test_what_breaks_the_protocol_closes_the_connection_with_1002(gateway: Pair, sent: bytes) -> None:
    async with connected(gateway.base_url, PUBLIC) as socket:
        await socket.send(sent)

        assert await socket.end() == 1002


NOT_UTF8 = {
    "a byte that never stands": b"\xff",
    "a continuation byte alone": b"\x80",
    "a character cut off": b"{\xe4\xb8",
    "an overlong slash": b"\xc0\xaf",
    "an overlong null": b"\xe0\x80\x80",
    "a surrogate": b"\xed\xa0\x80",
    "beyond the last code point": b"\xf4\x90\x80\x80",
    "five bytes": b"\xf8\x88\x80\x80\x80",
}
NO_TEXTS: dict[str, bytes] = {
    **{name: text(wrong) for name, wrong in NOT_UTF8.items()},
    **{f"{name}, in the last fragment": b"".join(fragments(TEXT, b"{", wrong)) for name, wrong in NOT_UTF8.items()},
    "seen before the message ends": frame(TEXT, b"\xf4\x90", is_final=False),
    "a character begun in one fragment and broken in the next": b"".join(fragments(TEXT, b"\xe4\xb8", b"x", b"")),
    "the reason of a close": close(1000, b"\xc3\x28"),
    "the reason of a close, cut off": close(3000, "世".encode()[:2]),
}


@pytest.mark.parametrize("sent", NO_TEXTS.values(), ids=NO_TEXTS)
async def test_text_that_is_no_utf8_closes_the_connection_with_1007(gateway: Pair, sent: bytes) -> None:
    async with connected(gateway.base_url, PUBLIC) as socket:
        await socket.send(sent)

        assert await socket.end() == 1007


async def test_what_was_asked_before_the_protocol_broke_is_not_begun_twice_nor_left_behind(gateway: Pair) -> None:
    async with connected(gateway.base_url, PUBLIC) as socket:
        await socket.send(text(TURN), frame(3))
        assert await socket.end() == 1002

    await gateway.settled()


# --- The end


@pytest.mark.parametrize(
    "code", [1000, 1001, 1002, 1003, 1007, 1008, 1009, 1010, 1011, 1012, 1013, 3000, 3999, 4000, 4999]
)
@pytest.mark.parametrize("reason", ["", "Auf Wiedersehen 👋", "x" * 123])
async def test_a_close_is_answered_with_its_code(gateway: Pair, code: int, reason: str) -> None:
    async with connected(gateway.base_url, PUBLIC) as socket:
        await socket.send(close(code, reason.encode()))

        assert await socket.end() == code


async def test_a_close_without_a_code_is_answered_without_one(gateway: Pair) -> None:
    async with connected(gateway.base_url, PUBLIC) as socket:
        await socket.send(frame(CLOSE))

        assert await socket.end() == EMPTY


@pytest.mark.parametrize(
    "behind", [text(TURN), frame(PING, b"late"), close(1001), frame(3), b"\x00garbage"], ids=lambda b: repr(b[:6])
)
async def test_what_comes_behind_a_close_is_not_read(gateway: Pair, behind: bytes) -> None:
    turns = len(await gateway.upstream.turns())

    async with connected(gateway.base_url, PUBLIC) as socket:
        await socket.send(close(1000), behind)
        assert await socket.end() == 1000

    assert [came.opcode for came in socket.seen] == [CLOSE]
    assert len(await gateway.upstream.turns()) == turns


async def test_a_connection_that_is_cut_in_the_middle_of_a_frame_leaves_nothing_behind(gateway: Pair) -> None:
    for at in (1, 3, 5, 9):
        async with connected(gateway.base_url, PUBLIC) as socket:
            await socket.send(text(TURN)[:at])

    async with connected(gateway.base_url, PUBLIC) as socket:
        assert await answers(socket) == []


# --- Size


async def test_a_frame_that_claims_to_be_huge_takes_no_more_memory_than_it_has_sent(gateway: Pair) -> None:
    process = psutil.Process()
    before = process.memory_info().rss

    async with connected(gateway.base_url, PUBLIC) as socket:
        await socket.send(frame(TEXT, b" " * 2**20, declared=2**62, length_bytes=8))
        await asyncio.sleep(0.1)
        grown = process.memory_info().rss - before

    assert grown < 32 * 2**20


@pytest.mark.parametrize("is_fragmented", [False, True], ids=["one frame", "fragments"])
async def test_a_message_over_the_limit_is_refused_with_1009(gateway: Pair, is_fragmented: bool) -> None:
    piece = b" " * 2**20
    pieces = MESSAGE_BYTES_MAX // len(piece) + 1
    header = frame(TEXT, declared=pieces * len(piece), length_bytes=8)[:-4] + bytes(4)  # a mask of nothing

    async with connected(gateway.base_url, PUBLIC) as socket:
        if not is_fragmented:
            await socket.send(header)
        for n in range(pieces):
            part = frame(CONTINUATION if n else TEXT, piece, is_final=False) if is_fragmented else piece
            await socket.send(part)

        assert await socket.end() == 1009


async def cpu_of(socket: RawWebSocket, data: bytes) -> float:
    """Seconds of CPU of this process, client and gateway, until all of it has been read."""
    started = time.process_time()
    await socket.send(data)
    await answers(socket)
    return time.process_time() - started


async def test_a_flood_of_one_byte_frames_costs_in_proportion_to_its_length(gateway: Pair) -> None:
    byte, first = frame(CONTINUATION, b" ", is_final=False), frame(TEXT, b"{", is_final=False)

    async with connected(gateway.base_url, PUBLIC) as socket:
        await socket.send(first)
        small = await cpu_of(socket, byte * 10_000)
        large = await cpu_of(socket, byte * 40_000)

    assert large < 4  # 100 µs a frame, on a machine that others use too
    assert large < 9 * small + 0.1  # four times as many; sixteen would be its square


async def test_a_message_in_single_bytes_on_the_wire_costs_in_proportion_to_its_length(gateway: Pair) -> None:
    async with connected(gateway.base_url, PUBLIC) as socket:
        started = time.process_time()
        for byte in frame(TEXT, b" " * 20_000):
            socket.writer.write(bytes([byte]))
            if byte % 16 == 0:
                await asyncio.sleep(0)
        assert [one["status"] for one in await told(socket)] == [400]

    assert time.process_time() - started < 4


async def told(socket: RawWebSocket) -> list[dict[str, object]]:
    """The errors that a bad message brought."""
    said = await answers(socket)
    return said or await answers(socket)


# --- Compression


def compressed(*parts: bytes, ping_between: bytes = b"") -> list[bytes]:
    """One compressed message in as many frames: only the first says so."""
    frames = [
        frame(CONTINUATION if n else TEXT, part, is_final=n == len(parts) - 1, reserved=0 if n else RSV1)
        for n, part in enumerate(parts)
    ]
    return [one for each in frames for one in (each, ping_between)][: None if not ping_between else -1]


async def test_compressed_messages_may_build_on_one_another_in_both_directions(gateway: Pair) -> None:
    compressor = zlib.compressobj(wbits=-15)

    async with connected(gateway.base_url, PUBLIC, compression=DEFLATE) as socket:
        sizes = []
        for _ in range(4):
            payload = deflated(TURN_BYTES, compressor)
            sizes.append(len(payload))
            await socket.send(*compressed(payload))
            assert await turn_text(socket) == SAID

    assert max(sizes[1:]) < sizes[0] / 2
    assert {came.reserved for came in socket.seen if came.opcode == TEXT} == {RSV1}


async def test_compressed_messages_may_each_stand_for_themselves(gateway: Pair) -> None:
    offer = f"{DEFLATE}; client_no_context_takeover; server_no_context_takeover"

    async with connected(gateway.base_url, PUBLIC, compression=offer) as socket:
        for _ in range(3):
            await socket.send(*compressed(deflated(TURN_BYTES)))
            assert await turn_text(socket) == SAID


@pytest.mark.parametrize("bits", [9, 12, 15])
async def test_a_smaller_window_is_kept_to(gateway: Pair, bits: int) -> None:
    offer = f"{DEFLATE}; client_max_window_bits={bits}; server_max_window_bits={bits}"
    compressor = zlib.compressobj(wbits=-bits)

    async with connected(gateway.base_url, PUBLIC, compression=offer) as socket:
        socket.inflater = Inflater(has_context=True, bits=bits)
        for _ in range(2):
            await socket.send(*compressed(deflated(TURN_BYTES, compressor)))
            assert await turn_text(socket) == SAID


async def test_messages_need_not_be_compressed_where_they_may_be(gateway: Pair) -> None:
    async with connected(gateway.base_url, PUBLIC, compression=DEFLATE) as socket:
        await socket.send(text(TURN))
        assert await turn_text(socket) == SAID
        await socket.send(*compressed(deflated(TURN_BYTES)))
        assert await turn_text(socket) == SAID
        await socket.send(text(TURN))
        assert await turn_text(socket) == SAID


@pytest.mark.parametrize("ping", [b"", frame(PING, b"between")], ids=["nothing between", "pings between"])
@pytest.mark.parametrize("size", [1, 10])
async def test_a_compressed_message_may_come_in_fragments(gateway: Pair, size: int, ping: bytes) -> None:
    payload = deflated(TURN_BYTES)
    parts = [payload[n : n + size] for n in range(0, len(payload), size)]

    async with connected(gateway.base_url, PUBLIC, compression=DEFLATE) as socket:
        await socket.send(*compressed(*parts, ping_between=ping))
        assert await turn_text(socket) == SAID

    assert [came.payload for came in socket.seen if came.opcode == PONG] == [b"between"] * (len(parts) - 1) * bool(ping)


async def test_a_compressed_message_that_says_it_is_the_last_is_not(gateway: Pair) -> None:
    compressor = zlib.compressobj(wbits=-15)
    ended = compressor.compress(TURN_BYTES) + compressor.flush(zlib.Z_FINISH) + b"\x00"  # RFC 7692, 7.2.3.4

    async with connected(gateway.base_url, PUBLIC, compression=f"{DEFLATE}; client_no_context_takeover") as socket:
        for _ in range(2):
            await socket.send(*compressed(ended))
            assert await turn_text(socket) == SAID


COMPRESSION_ERRORS = {
    "a compressed ping": (frame(PING, b"x", reserved=RSV1), {1002}),
    "a compressed close": (frame(CLOSE, b"\x03\xe8", reserved=RSV1), {1002}),
    "a continuation that says it is compressed": (
        frame(TEXT, b"", is_final=False, reserved=RSV1) + frame(CONTINUATION, b"", reserved=RSV1),
        {1002},
    ),
    "another reserved bit": (frame(TEXT, deflated(b"{}"), reserved=RSV1 | RSV2), {1002}),
    "no deflate at all": (frame(TEXT, b"\xff" * 20, reserved=RSV1), {1002, 1007}),
    "no UTF-8": (frame(TEXT, deflated(b"\xff"), reserved=RSV1), {1007}),
}


@pytest.mark.parametrize(("sent", "codes"), COMPRESSION_ERRORS.values(), ids=COMPRESSION_ERRORS)
async def test_what_breaks_the_rules_of_compression_closes_the_connection(
    gateway: Pair, sent: bytes, codes: set[int]
) -> None:
    async with connected(gateway.base_url, PUBLIC, compression=DEFLATE) as socket:
        await socket.send(sent)

        assert await socket.end() in codes


async def test_a_message_that_unpacks_to_more_than_the_limit_is_refused_and_takes_no_memory_beyond_it(
    gateway: Pair,
) -> None:
    compressor = zlib.compressobj(wbits=-15)
    megabyte = b" " * 2**20
    bomb = b"".join(compressor.compress(megabyte) for _ in range(200)) + compressor.flush(zlib.Z_SYNC_FLUSH)[:-4]
    process = psutil.Process()
    before, peak = process.memory_info().rss, 0

    async with connected(gateway.base_url, PUBLIC, compression=DEFLATE) as socket:
        ending = asyncio.ensure_future(socket.end())
        await socket.send(*compressed(bomb))
        while not ending.done():
            peak = max(peak, process.memory_info().rss)
            await asyncio.sleep(0.005)
        assert await ending == 1009

    assert len(bomb) < 2**19
    assert peak - before < 4 * MESSAGE_BYTES_MAX
