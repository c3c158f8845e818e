"""The journal: every request with the exact bytes of its answer, the counters, and who waits for a change."""

import asyncio
import itertools
import time
from collections import deque
from collections.abc import Iterable
from contextlib import suppress
from typing import Any, Final, Literal

import msgspec

from tests.support.simulator.record import Counters, Ended, Kind, Row, Tally, Violation

ROWS_MAX: Final = 100_000
ROW_BYTES_MAX: Final = 256 * 2**20  # a load test must not eat the machine; the oldest rows go first


class Recording:
    """One request while it is being answered."""

    __slots__ = (
        "_journal", "account", "answer", "body", "client_gone_at", "connection", "ended", "ended_at", "first_byte_at",
        "headers", "kind", "method", "path", "query", "received_at", "response_id", "seq", "status", "step", "transport",
    )  # fmt: skip

    def __init__(
        self,
        journal: "Journal",
        seq: int,
        kind: Kind,
        transport: Literal["http", "websocket"],
        connection: str,
        method: str = "",
        path: str = "",
        query: str = "",
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> None:
        self._journal = journal
        self.seq = seq
        self.kind: Kind = kind
        self.transport: Literal["http", "websocket"] = transport
        self.connection = connection
        self.method, self.path, self.query = method, path, query
        self.headers = headers
        self.body = b""
        self.answer: list[bytes] = []
        self.received_at = time.monotonic()
        self.first_byte_at: float | None = None
        self.ended_at: float | None = None
        self.client_gone_at: float | None = None
        self.account: str | None = None
        self.step: str | None = None
        self.status: int | None = None
        self.ended: Ended | None = None
        self.response_id: str | None = None

    def sent(self, data: bytes) -> None:
        """These bytes of the answer's body have left."""
        self.answer.append(data)
        if self.first_byte_at is None:
            self.first_byte_at = time.monotonic()
            self._journal.changed()

    def end(self, how: Ended) -> None:
        """The first end counts."""
        if self.ended is not None:
            return
        self.ended = how
        self.ended_at = time.monotonic()
        if how == "client_gone":
            self.client_gone_at = self.ended_at
        self._journal.closed(self)

    def violates(self, kind: str, detail: str) -> None:
        """The caller did what a proxy must never do."""
        fault = msgspec.convert({"seq": self.seq, "kind": kind, "account": self.account, "detail": detail}, Violation)
        self._journal.violations.append(fault)
        self._journal.changed()

    def row(self) -> Row:
        """As the control API tells it."""
        body: Any = None
        with suppress(msgspec.DecodeError):
            body = msgspec.json.decode(self.body) if self.body else None
        return Row(
            seq=self.seq, kind=self.kind, transport=self.transport, connection=self.connection, method=self.method,
            path=self.path, query=self.query, headers=[(name.decode("latin-1"), value.decode("latin-1")) for name, value in self.headers], body=body, body_bytes=len(self.body),
            account=self.account, step=self.step, received_at=self.received_at, first_byte_at=self.first_byte_at,
            ended_at=self.ended_at, client_gone_at=self.client_gone_at, status=self.status, ended=self.ended,
            response_id=self.response_id, answer=b"".join(self.answer),
        )  # fmt: skip

    def bytes_held(self) -> int:
        """What keeping this costs."""
        return len(self.body) + sum(map(len, self.answer))


class Journal:
    """All recordings, oldest first, bounded."""

    def __init__(self) -> None:
        self._numbers = itertools.count(1)
        self._rows: deque[Recording] = deque()
        self._bytes = 0
        self._waiting: set[asyncio.Future[None]] = set()
        self._tallies: dict[str, Tally] = {}
        self.total = Tally()
        self.violations: list[Violation] = []
        self.version = 0
        self.rows_dropped = 0
        self.keeps_bytes = True

    def open(
        self,
        kind: Kind,
        connection: str,
        *,
        transport: Literal["http", "websocket"] = "http",
        method: str = "",
        path: str = "",
        query: str = "",
        headers: Iterable[tuple[bytes, bytes]] = (),
    ) -> Recording:
        """A request came in."""
        recording = Recording(self, next(self._numbers), kind, transport, connection, method, path, query, headers)
        self._rows.append(recording)
        self.changed()
        return recording

    def tally(self, account: str) -> Tally:
        """The counters of one account."""
        return self._tallies.setdefault(account, Tally())

    def count(self, account: str, **changes: int) -> None:
        """Adds to the counters of an account and to the totals."""
        for tally in (self.tally(account), self.total):
            for name, change in changes.items():
                setattr(tally, name, getattr(tally, name) + change)
            tally.open_peak = max(tally.open_peak, tally.open)
        self.changed()

    def closed(self, recording: Recording) -> None:
        """Forgets the oldest rows once there are too many; bytes are dropped at once when nobody wants them."""
        if not self.keeps_bytes:
            recording.body, recording.answer = b"", []
        self._bytes += recording.bytes_held()
        while self._rows and (len(self._rows) > ROWS_MAX or self._bytes > ROW_BYTES_MAX):
            oldest = self._rows.popleft()
            self._bytes -= oldest.bytes_held() if oldest.ended else 0
            self.rows_dropped += 1
        self.changed()

    def rows(self, *, since: int = 0, kinds: frozenset[str] = frozenset()) -> list[Row]:
        """The rows behind ``since``, of these kinds or of all."""
        wanted = (one for one in self._rows if one.seq > since and (not kinds or one.kind in kinds))
        return [one.row() for one in wanted]

    def counters(self) -> Counters:
        """All counters now."""
        return Counters(
            version=self.version,
            total=self.total,
            accounts=self._tallies,
            violations=len(self.violations),
            rows_dropped=self.rows_dropped,
        )

    def changed(self) -> None:
        """Wakes everybody who waits for something new."""
        self.version += 1
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)

    async def wait_for_change(self, version: int, *, within_s: float) -> None:
        """Returns once the version is beyond the given one, or when the time is up."""
        if self.version > version:
            return
        waiting: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.add(waiting)
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(waiting, within_s)
        finally:
            self._waiting.discard(waiting)

    def clear(self) -> None:
        """Forgets what happened; what is still open keeps running and counting."""
        self._rows = deque(one for one in self._rows if one.ended is None)
        self._bytes = 0
        self.violations.clear()
        self.rows_dropped = 0
        for name, tally in self._tallies.items():
            self._tallies[name] = _emptied(tally)
        self.total = _emptied(self.total)
        self.changed()


def _emptied(tally: Tally) -> Tally:
    return Tally(open=tally.open, open_peak=tally.open, held=tally.held, sockets_open=tally.sockets_open)
