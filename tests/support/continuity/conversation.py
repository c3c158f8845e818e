"""A conversation and the client that leads it: it keeps its history, runs its tools once, and tries again."""

from __future__ import annotations

import asyncio
import random
from typing import Protocol

from tests.support.continuity.accounts import Call, speaking
from tests.support.continuity.gateway import LocalGateway
from tests.support.continuity.judge import Asked, excuse
from tests.support.continuity.thread import Client, Heard, Kind, client_of
from tests.support.continuity.verdict import Verdict
from tests.support.continuity.world import World
from tests.support.simulator.prompts import JsonObject

ATTEMPTS_MAX = 8  # of one turn; then the thread rests
REST_S = 120.0
MODELS = ("gpt-5.5", "gpt-5.3-codex")
FOR_EVER_S = 1e5


class Court(Protocol):
    """Where problems are reported."""

    verdict: Verdict

    def problem(self, text: str) -> None:
        """Something that must not happen has happened."""
        ...


class Thread:
    """One of them."""

    def __init__(self, court: Court, world: World, name: str, kind: Kind) -> None:
        self._court = court
        self._world = world
        self._draws: random.Random = world.draws
        self._name = name
        self._kind = kind
        self._is_named = self._draws.random() < 0.6
        self._client: Client = client_of(kind, name if self._is_named else "")
        self._patience_s = self._draws.uniform(20, 120) if self._draws.random() < 0.3 else FOR_EVER_S
        self._gateway: LocalGateway | None = None
        self._items: list[JsonObject] = []
        self._ran: set[str] = set()  # tool calls
        self._account = ""
        self._blob_owner = ""  # who compacted the conversation: nobody else can go on with it
        self._said = 0

    async def talk(self) -> None:
        """All its turns."""
        speaking.set(self._name)
        for _ in range(self._draws.randint(2, 6)):
            await asyncio.sleep(self._draws.expovariate(1 / 10))
            if self._kind == "codex_http" and self._account and self._draws.random() < 0.15:
                await self._compact()
            self._items.append(self._question())
            await self._turn()
            while outputs := self._tool_outputs():
                self._items += outputs
                await self._turn()
        self._court.verdict.healed += getattr(self._client, "healed", 0)

    async def _compact(self) -> None:
        """The history becomes one item that only its maker can read."""
        self._items.append({"type": "compaction_trigger"})
        if await self._turn():
            self._items, self._blob_owner = [self._items[-1]], self._account
        else:
            self._items = []

    async def _turn(self) -> bool:
        """One turn, tried until it is answered, as clients do; whether it was."""
        self._court.verdict.turns += 1
        before: Asked | None = None
        for attempt in range(ATTEMPTS_MAX):
            gateway = self._choose_gateway()
            if gateway is None:
                await asyncio.sleep(1)
                continue
            heard, asked = await self._ask(gateway)
            if heard.is_completed:
                return True
            if gateway.is_dead or not asked.is_failure:  # it was killed, or the client was in a hurry
                continue
            self._court.verdict.failures += 1
            if before is not None:
                self._judge(heard, before, asked)
            before = asked
            await asyncio.sleep(self._draws.uniform(0.1, 0.3) * 2**attempt)
            if self._is_known and self._items[-1].get("role") == "user" and self._draws.random() < 0.15:
                self._items.append(self._question())  # instead of the same again
        await asyncio.sleep(REST_S)
        self._items, self._blob_owner = self._items[-1:] if not self._blob_owner else [self._question()], ""
        return False

    @property
    def _is_known(self) -> bool:
        """Whether another question leaves it the same conversation, to whoever hears it."""
        return self._is_named or any(item.get("role") == "assistant" for item in self._items)

    def _choose_gateway(self) -> LocalGateway | None:
        """A socket stays where it is; everything else goes anywhere."""
        there = self._world.gateways
        stays = self._kind == "codex_socket" and self._gateway in there and self._draws.random() < 0.8
        if not stays:
            self._gateway = self._draws.choice(there) if there else None
        return self._gateway

    def _judge(self, heard: Heard, first: Asked, second: Asked) -> None:
        world, verdict = self._world, self._court.verdict
        healthy = [name for name in world.healthy_since(first.began) if self._blob_owner in ("", name)]
        if not healthy:
            return
        why = excuse(
            first,
            second,
            was_failing=world.was_failing,
            is_forgotten=world.is_forgotten,
        )
        if why is not None:
            verdict.excused[why] += 1
            return
        failing = sorted({call.account for call in second.calls if world.was_failing(call)})
        self._court.problem(
            f"{self._name} ({self._kind}) failed twice running ({heard.status} {heard.failure}), on {sorted(first.accounts)} "
            f"and on {sorted(second.accounts)}, of which {failing} were known to fail, though {healthy} could serve"
        )

    async def _ask(self, gateway: LocalGateway) -> tuple[Heard, Asked]:
        """One request: what was heard, and what upstream was asked for it."""
        self._court.verdict.attempts += 1
        upstream, clock = self._world.upstream, self._world.clock
        before, began = len(upstream.calls), clock.monotonic()
        self._world.history.note(f"{self._name} ({self._kind}) asks {gateway.leases.replica_id}")
        asking = asyncio.create_task(self._client.ask(gateway, self._body()))
        done, _ = await asyncio.wait([asking], timeout=self._patience_s)
        if not done:
            asking.cancel()
            self._client.hang_up()
            await asyncio.sleep(0.1)
        heard = asking.result() if done else Heard(failure="hung_up")
        calls = [call for call in upstream.calls[before:] if call.thread == self._name]
        asked = Asked(began, clock.monotonic(), calls, gateway.leases.replica_id, has_hung_up=not done)
        self._world.history.note(f"{self._name} is told {heard.status} {heard.failure or 'an answer'}")
        if done or asked.is_failure:
            self._world.note_failed(calls, gateway.leases.replica_id)
        if done:
            self._check(gateway, heard, calls)
            self._world.tell(self._world.answered if heard.is_completed else self._world.refused)
        return heard, asked

    def _check(self, gateway: LocalGateway, heard: Heard, calls: list[Call]) -> None:
        """One answer or none, whole or cut short, never parts of two."""
        who, problem = f"{self._name} ({self._kind})", self._court.problem
        if heard.was_not_healed:
            problem(f"{who} was told {heard.failure} and not to start over")
        if (heard.status, heard.failure) == (500, "server_error") or heard.failure == "unreadable":
            problem(f"{who} was told {heard.status} {heard.failure}")
        given = [str(item["id"]) for item in heard.items]
        answers = [[str(item["id"]) for item in call.answer.items] for call in calls if call.answer]
        if given and not any(answer[: len(given)] == given for answer in answers):
            problem(f"{who} was given {given}, no one answer of {answers}")
        finished = [call for call in calls if call.is_completed]
        if heard.is_completed:
            if not finished or given != answers[-1]:
                problem(f"{who} was told it has an answer that is none")
            self._take(heard, finished[-1].account if finished else "")
        elif finished and not gateway.is_dead:
            problem(f"{who} never got an answer that upstream finished")

    def _take(self, heard: Heard, account: str) -> None:
        self._items += heard.items
        self._court.verdict.moves += self._account not in ("", account)
        self._account = account

    def _body(self) -> JsonObject:
        body: JsonObject = {
            "model": MODELS[0],
            "instructions": self._name,
            "input": list(self._items),
            "stream": self._kind != "sdk_json",
            "store": False,
            "include": ["reasoning.encrypted_content"],
            "reasoning": {"effort": "high"},
        }
        if self._draws.random() < 0.1:
            body["model"] = MODELS[1]
        return body

    def _question(self) -> JsonObject:
        self._said += 1
        tool = f'<<tool:shell:{{"n":{self._said}}}>>' if self._draws.random() < 0.4 else ""
        text = f"{self._name} asks {self._said} {tool}<<say:{self._name} is told {self._said}>>"
        return {"type": "message", "role": "user", "content": [{"type": "input_text", "text": text}]}

    def _tool_outputs(self) -> list[JsonObject]:
        """Runs the tools that the last answer calls, each once."""
        if not self._items or self._items[-1].get("type") != "function_call":
            return []
        call_id = str(self._items[-1]["call_id"])
        if call_id in self._ran:
            self._court.problem(f"{self._name} ran {call_id} twice")
        self._ran.add(call_id)
        return [{"type": "function_call_output", "call_id": call_id, "output": "done"}]
