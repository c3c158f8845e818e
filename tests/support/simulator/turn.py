"""One turn, whatever its transport: checked, answered, bent by its step, played, counted."""

import asyncio
import itertools
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Final, Protocol, assert_never

from tests.support.simulator import answers, ciphertext, endings, faults, prompts, strictness, tokens
from tests.support.simulator.accounts import Account, Accounts, step_of
from tests.support.simulator.answers import Answer, Event
from tests.support.simulator.endings import After, Playback
from tests.support.simulator.gate import Gate
from tests.support.simulator.journal import Journal, Recording
from tests.support.simulator.prompts import JsonObject
from tests.support.simulator.reception import HANG_S_MAX, ConnectionCutError
from tests.support.simulator.steps import Incomplete, Step, Stream, UnreadableStepError

_FINAL: Final = ("response.completed", "response.incomplete")


class Sink(Protocol):
    """Where the events of a turn go."""

    async def send(self, event: Event, *, bytes_max: int | None = None) -> int:
        """Sends an event, or its first bytes; returns how many bytes it has in all."""

    async def close(self, code: int) -> None:
        """Ends the body, or the socket, in good order."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A checked request with its step and its answer."""

    account: Account
    step: Step
    answer: Answer
    holds: tokens.Prefix  # everything the response stands for; a later request may build on it


class Ids:
    """Fresh ids, unlike those of any other run."""

    def __init__(self) -> None:
        self._run = secrets.token_hex(8)
        self._numbers = itertools.count(1)

    def __call__(self, prefix: str) -> str:
        return f"{prefix}{self._run}{next(self._numbers):016x}"


class Turns:
    """Turns requests into answers."""

    def __init__(self, accounts: Accounts, journal: Journal, gate: Gate) -> None:
        self._accounts = accounts
        self._journal = journal
        self._gate = gate
        self.new_id = Ids()

    def prepare(self, recording: Recording, account: Account, body: JsonObject, *, is_websocket: bool) -> Turn:
        """Checks the body, takes the step and builds the answer. Raises RefusedError."""
        self._check(recording, account, body, is_websocket=is_websocket)
        prompt = prompts.read(body)
        recording.step = self._accounts.take_step(account, recording.kind)
        if recording.step is None and prompt.do is not None:
            recording.step = prompt.do
        behind = account.responses.get(str(body.get("previous_response_id")), tokens.NOTHING)
        chain = tokens.prefixes(body, behind=behind)
        input_tokens = prompt.input_tokens or chain[-1].tokens
        cost = {"input_tokens": input_tokens, "cached_tokens": min(account.cache.cached(chain), input_tokens)}
        now = int(time.time())
        if recording.kind == "warmup":
            answer = answers.build_warm_up(body, new_id=self.new_id, now=now, **cost)
        else:
            answer = answers.build(
                body, prompt.wish, account_id=account.account_id, new_id=self.new_id, now=now, **cost
            )
        step = _step(recording)
        if recording.step is None:
            _refuse_when_full(account)
        return Turn(account, step, answer, tokens.Prefix(chain[-1].digest, input_tokens + answer.cost.output))

    async def play(self, turn: Turn, recording: Recording, sink: Sink, end: Stream) -> None:
        """Sends the events at the step's pace. Raises ConnectionCutError when the connection shall go."""
        shown = endings.playback(turn.answer, end)
        recording.response_id = turn.answer.response_id
        hold_at = endings.first_output(shown.events) if turn.step.is_held else None
        left = shown.cut_after_bytes
        for n, event in enumerate(shown.events):
            if event.type in _FINAL:
                self._settle(turn, is_complete=not isinstance(end, Incomplete))
            sent = await sink.send(event, bytes_max=left)
            if left is not None:
                left -= sent
                if left <= 0:
                    raise ConnectionCutError
            if n == hold_at:
                await self._gate.wait(turn.account.name)
            if turn.step.between_s and n + 1 < len(shown.events):
                await asyncio.sleep(turn.step.between_s)
        await self._finish(shown, sink)

    @contextmanager
    def counted(self, recording: Recording, account: Account) -> Iterator[None]:
        """The turn counts as open until its end is known."""
        is_warm_up = recording.kind == "warmup"
        self._journal.count(account.name, turns=int(not is_warm_up), warmups=int(is_warm_up), open=1)
        try:
            yield
        except faults.RefusedError:
            self._journal.count(account.name, open=-1, refused=1)
            raise
        except (asyncio.CancelledError, ConnectionError):
            recording.end("client_gone")
            self._journal.count(account.name, open=-1, client_gone=int(recording.ended == "client_gone"))
            raise
        except ConnectionCutError:
            self._journal.count(account.name, open=-1)
            raise
        else:
            self._journal.count(account.name, open=-1)

    def _check(self, recording: Recording, account: Account, body: JsonObject, *, is_websocket: bool) -> None:
        refused = strictness.refused(body, is_websocket=is_websocket)
        if refused is not None:
            recording.violates("refused_body", refused)
            raise faults.RefusedError(faults.detail(refused))
        model = body["model"]
        if model not in account.catalog.slugs:
            text = f"The '{model}' model is not supported when using Codex with a ChatGPT account."
            raise faults.RefusedError(faults.detail(text))
        previous = body.get("previous_response_id")
        if previous is not None and not (is_websocket and previous in account.responses):
            raise faults.RefusedError(faults.previous_response_not_found(previous))
        foreign = next(ciphertext.foreign(body, account.account_id), None)
        if foreign is not None:
            recording.violates("foreign_ciphertext", f"made for {ciphertext.owner_of(foreign)}")
            raise faults.RefusedError(faults.invalid_encrypted_content(foreign))

    def _settle(self, turn: Turn, *, is_complete: bool) -> None:
        cost = turn.answer.cost
        turn.account.remember(turn.answer.response_id, turn.holds)
        turn.account.usage.spend(cost.input + cost.output)
        self._journal.count(
            turn.account.name,
            completed=int(is_complete),
            input_tokens=cost.input,
            cached_tokens=cost.cached,
            output_tokens=cost.output,
        )

    async def _finish(self, shown: Playback, sink: Sink) -> None:
        match shown.after:
            case After.END:
                return
            case After.EOF:
                await sink.close(shown.close_code)
            case After.CUT:
                raise ConnectionCutError
            case After.HANG:
                await asyncio.sleep(HANG_S_MAX)
                raise ConnectionCutError
            case _:
                assert_never(shown.after)


def _step(recording: Recording) -> Step:
    try:
        return step_of(recording.step)
    except UnreadableStepError as error:  # only a prompt can bring one; scripts are checked when they are set
        raise faults.RefusedError(faults.detail(str(error))) from error


def _refuse_when_full(account: Account) -> None:
    resets_at = account.usage.full_until()
    if resets_at is not None:
        fault = faults.limit(plan=account.plan, resets_at=resets_at, now=int(time.time()))
        raise faults.RefusedError(fault.with_headers(account.usage.headers()))
