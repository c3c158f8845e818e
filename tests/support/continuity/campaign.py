"""One sequence of a campaign: a small pool, some gateways, some threads, and faults drawn from a seed.

What must hold, whatever happens:
- no thread fails twice running while an account could have served it, all the while, and the client sent everything;
- nothing that only one account can read reaches another;
- a client is given one answer per request, whole or cut short, never parts of two, and no finished answer is lost: so
  no tool call is run twice or swallowed because of us;
- nothing fails in a way that nobody foresaw, and every slot comes back.
"""

from __future__ import annotations

import asyncio
import random
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import get_args

from codex_lb.control.domain.ids import AccountId
from codex_lb.gateway.turn.next_step import ACCOUNTS_MAX
from tests.support.continuity.control import LEASE_TTL_S, Durable, LocalControl, Site
from tests.support.continuity.gateway import LocalGateway
from tests.support.continuity.thread import Client, Heard, Kind, client_of
from tests.support.continuity.upstream import FastUpstream, SimAccount
from tests.support.simulator.prompts import JsonObject
from tests.support.virtual_time import LoopClock, run_in_virtual_time

CALM_S = 10.0  # an account that failed no turn for as long is healthy
ATTEMPTS_MAX = 8  # of one turn; then the thread rests
REST_S = 120.0
MODELS = ("gpt-5.5", "gpt-5.3-codex")
SILENT = (
    "limit:{s}", "limit_event:{s}", "limit_close:{s}", "rate_limited:2", "overloaded", "http:500", "http:502", "html:403",
    "refuse", "cut_before_output", "failed:server_error", "failed_first:server_error", "error:server_is_overloaded",
    "error_first:server_error", "close_silent:1000", "close_silent:1009", "close_silent:1011", "hang",
)  # fmt: skip
ONCE = ("http:400:invalid_encrypted_content", "failed_first:previous_response_not_found")  # what upstream held is lost
LOST = frozenset(step.rpartition(":")[2] for step in ONCE)
VISIBLE = ("eof", "cut_after:2500", "close:1011", "close:1009")


@dataclass
class Verdict:
    """What a sequence came to."""

    seed: int
    turns: int = 0
    attempts: int = 0
    failures: int = 0  # attempts that a client was told had failed
    moves: int = 0  # turns that another account served than the one before
    healed: int = 0  # times a WebSocket client resent everything without a word
    bolts: int = (
        0  # twice running, the second time by an answer that broke off, or never came, where none had failed yet
    )
    forgotten: int = 0  # twice running on the same account, because control restarted between: who failed is soft state
    drowned: int = 0  # twice running, but every account that a turn may ask failed, none of which had failed it before
    calls: int = 0
    problems: list[str] = field(default_factory=list)


def run_sequence(seed: int) -> Verdict:
    """Plays one."""
    random.seed(seed)  # the product's own draws: jitter
    return run_in_virtual_time(_Sequence.play(seed))


class World:
    """The pool, upstream and everything between, as a sequence changes it."""

    def __init__(self, draws: random.Random) -> None:
        self.draws = draws
        self.clock = LoopClock()
        self.upstream = FastUpstream(self.clock, draws)
        self.site = Site(Durable(), self.clock, draws)
        self.changed: dict[str, float] = {}  # when an account last became able to serve
        self.unable: set[str] = set()
        self.restarted_at = -1.0  # when control was last started again
        self._names = iter(f"a{n}" for n in range(1000))
        self._gateways_made = 0
        self.gateways: list[LocalGateway] = []

    async def start(self) -> None:
        """The first accounts, and everything that runs."""
        await self.site.start()
        for _ in range(self.draws.randint(2, 6)):
            self.add_account()
        self.gateways = [self.new_gateway() for _ in range(self.draws.randint(1, 3))]

    @property
    def control(self) -> LocalControl | None:
        """Control, if it runs."""
        return self.site.control

    def add_account(self) -> None:
        """The operator adds one."""
        name = next(self._names)
        self.upstream.add(name)
        self.changed[name] = self.clock.monotonic()
        if self.control is not None:
            self.control.add(name)

    def new_gateway(self) -> LocalGateway:
        """A gateway starts."""
        self._gateways_made += 1
        return LocalGateway(self.site, self.upstream, self.clock, f"g{self._gateways_made}")

    def healthy_since(self, start: float) -> list[str]:
        """Accounts that could have served all the time since then."""
        return [a.name for a in self.upstream.accounts.values() if self._is_healthy(a, start)]

    def _is_healthy(self, account: SimAccount, start: float) -> bool:
        return (
            AccountId(account.name) in self.site.durable.accounts
            and account.name not in self.unable
            and not account.is_dead
            and not account.script
            and account.limited_until < self.clock.now().timestamp() - (self.clock.monotonic() - start) - CALM_S
            and account.last_failed < start - CALM_S
            and self.changed[account.name] < start - CALM_S
        )


class _Sequence:
    """One run."""

    def __init__(self, seed: int) -> None:
        self.verdict = Verdict(seed)
        self.draws = random.Random(seed)
        self.world = World(self.draws)
        self.tasks: set[asyncio.Task[None]] = set()

    @classmethod
    async def play(cls, seed: int) -> Verdict:
        """All of it."""
        sequence = cls(seed)
        await sequence.world.start()
        await sequence._run()
        return sequence.verdict

    async def _run(self) -> None:
        faults = asyncio.create_task(self._faults())
        kinds = [self.draws.choice(get_args(Kind)) for _ in range(self.draws.randint(1, 4))]
        async with asyncio.TaskGroup() as threads:
            for n, kind in enumerate(kinds):
                threads.create_task(Thread(self, f"thread-{n}", kind).talk())
        faults.cancel()
        control = self.world.control or await self.world.site.start()
        await asyncio.sleep(2 * LEASE_TTL_S)  # the slots of whoever was killed return
        await control.settle.lapse()
        if control.leases.held():
            self.problem(f"{control.leases.held()} leases never returned")
        upstream = self.world.upstream
        self.verdict.calls = len(upstream.calls)
        for what in (*upstream.foreign, *upstream.refused_bodies):
            self.problem(f"upstream got what it must not get: {what}")
        for gateway in self.world.gateways:
            await gateway.kill()
        self.world.site.kill()
        for task in self.tasks:
            task.cancel()

    def problem(self, text: str) -> None:
        """Something that must not happen has happened."""
        self.verdict.problems.append(f"{self.world.clock.monotonic():.2f} s: {text}")

    def later(self, seconds: float, do: Callable[[], None]) -> None:
        """Does something after a while."""

        async def wait() -> None:
            await asyncio.sleep(seconds)
            do()

        task = asyncio.create_task(wait())
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)

    async def _faults(self) -> None:
        draws = self.draws
        happen: list[tuple[int, Callable[[], object]]] = [
            (40, self._fail_silently),
            (10, self._break_visibly),
            (4, self._lose_state),
            (6, self._pause),
            (3, self._delete),
            (3, self.world.add_account),
            (6, self._end_login),
            (8, self._cut),
        ]
        while True:
            await asyncio.sleep(draws.expovariate(1 / 6))
            await self._lapse()
            kind = draws.random()
            if kind < 0.06:
                await self._kill_gateway()
            elif kind < 0.12:
                await self._restart_control()
            else:
                draws.choices([do for _, do in happen], [weight for weight, _ in happen])[0]()

    async def _lapse(self) -> None:
        if self.world.control is not None:
            await self.world.control.settle.lapse()

    def _account(self) -> SimAccount:
        pooled = [self.world.upstream.accounts[name] for name in self.world.site.durable.accounts]
        return self.draws.choice(pooled)

    def _fail_silently(self) -> None:
        step = self.draws.choice(SILENT).format(s=self.draws.choice((5, 30, 300)))
        self._account().script.extend([step] * self.draws.choice((1, 1, 2, 4)))

    def _lose_state(self) -> None:
        self._account().script.append(self.draws.choice(ONCE))

    def _break_visibly(self) -> None:
        self._account().script.extend([self.draws.choice(VISIBLE)] * self.draws.choice((1, 2, 3)))

    def _pause(self) -> None:
        account, control = self._account(), self.world.control
        if control is None or account.name in self.world.unable:
            return
        account_id = AccountId(account.name)
        control.pause(account_id, is_paused=True)
        self.world.unable.add(account.name)

        def resume() -> None:
            running = self.world.control
            if running is not None and account_id in self.world.site.durable.accounts:
                running.pause(account_id, is_paused=False)
                self.world.unable.discard(account.name)
                self.world.changed[account.name] = self.world.clock.monotonic()

        self.later(self.draws.uniform(5, 60), resume)

    def _delete(self) -> None:
        control = self.world.control
        if control is not None and len(self.world.site.durable.accounts) > 2:
            control.delete(AccountId(self._account().name))

    def _end_login(self) -> None:
        account = self._account()
        account.is_dead = True

        def renew() -> None:
            control, account_id = self.world.control, AccountId(account.name)
            if control is not None and account_id in self.world.site.durable.accounts:
                control.renew_login(account_id)
                account.token = self.world.site.durable.accounts[account_id][1]
                account.is_dead = False
                self.world.changed[account.name] = self.world.clock.monotonic()

        self.later(self.draws.uniform(3, 30), renew)

    def _cut(self) -> None:
        account = self._account()
        for call in self.world.upstream.calls:
            call.is_cut = call.is_cut or (call.account == account.name and not call.is_completed)

    async def _kill_gateway(self) -> None:
        n = self.draws.randrange(len(self.world.gateways))
        await self.world.gateways.pop(n).kill()
        await asyncio.sleep(self.draws.uniform(0.2, 2))
        self.world.gateways.append(self.world.new_gateway())

    async def _restart_control(self) -> None:
        self.world.site.kill()
        await asyncio.sleep(self.draws.uniform(0.5, 4))
        await self.world.site.start()
        self.world.restarted_at = self.world.clock.monotonic()


class Thread:
    """A conversation and the client that leads it."""

    def __init__(self, sequence: _Sequence, name: str, kind: Kind) -> None:
        self._sequence = sequence
        self._world = sequence.world
        self._draws = sequence.draws
        self._name = name
        self._kind = kind
        self._client: Client = client_of(kind, name if self._draws.random() < 0.6 else "")
        self._items: list[JsonObject] = []
        self._ran: set[str] = set()  # tool calls
        self._account = ""
        self._blob_owner = ""  # who compacted the conversation: nobody else can go on with it
        self._said = 0

    async def talk(self) -> None:
        """All its turns."""
        for _ in range(self._draws.randint(2, 6)):
            await asyncio.sleep(self._draws.expovariate(1 / 10))
            if self._kind == "codex_http" and self._account and self._draws.random() < 0.15:
                await self._compact()
            self._items.append(self._question())
            await self._turn()
            while outputs := self._tool_outputs():
                self._items += outputs
                await self._turn()
        healed = getattr(self._client, "healed", 0)
        self._sequence.verdict.healed += healed

    async def _compact(self) -> None:
        """The history becomes one item that only its maker can read."""
        self._items.append({"type": "compaction_trigger"})
        if await self._turn():
            self._items, self._blob_owner = [self._items[-1]], self._account
        else:
            self._items = []

    async def _turn(self) -> bool:
        """One turn, tried until it is answered, as clients do; whether it was."""
        self._sequence.verdict.turns += 1
        failed_on: list[set[str]] = []
        started: list[float] = []
        for attempt in range(ATTEMPTS_MAX):
            started.append(self._world.clock.monotonic())
            if not self._world.gateways:
                await asyncio.sleep(1)
                continue
            gateway = self._draws.choice(self._world.gateways)
            heard, accounts, bolt = await self._ask(gateway)
            if heard.is_completed:
                return True
            if gateway not in self._world.gateways:  # it was killed meanwhile, and that is no failure of its own
                failed_on.clear()
                continue
            self._sequence.verdict.failures += 1
            failed_on.append(accounts)
            if len(failed_on) >= 2:
                self._judge(heard, failed_on, started[-2], bolt)
            await asyncio.sleep(self._draws.uniform(0.1, 0.3) * 2**attempt)
        await asyncio.sleep(REST_S)
        self._items, self._blob_owner = self._items[-1:] if not self._blob_owner else [self._question()], ""
        return False

    def _judge(self, heard: Heard, failed_on: list[set[str]], since: float, bolt: str) -> None:
        healthy = [name for name in self._world.healthy_since(since) if self._blob_owner in ("", name)]
        if not healthy:
            return
        if bolt and bolt not in failed_on[-2]:
            self._sequence.verdict.bolts += 1
            return
        if self._world.restarted_at > since:
            self._sequence.verdict.forgotten += 1
            return
        if len(failed_on[-1]) >= ACCOUNTS_MAX and not failed_on[-1] & failed_on[-2]:
            self._sequence.verdict.drowned += 1
            return
        self._sequence.problem(
            f"{self._name} ({self._kind}) failed twice running ({heard.status} {heard.failure}) on {failed_on[-2:]}"
            f" though {healthy} could serve"
        )

    async def _ask(self, gateway: LocalGateway) -> tuple[Heard, set[str], str]:
        """One request: what was heard, who failed it, and whose answer broke off, or was never more than silence."""
        self._sequence.verdict.attempts += 1
        upstream = self._world.upstream
        before = len(upstream.calls)
        heard = await self._client.ask(gateway, self._body())
        calls = [call for call in upstream.calls[before:] if call.thread == self._name]
        if (heard.status, heard.failure) == (500, "server_error") or heard.failure == "unreadable":
            self._sequence.problem(f"{self._name} ({self._kind}) was told {heard.status} {heard.failure}")
        given = [str(item["id"]) for item in heard.items]
        answers = [[str(item["id"]) for item in call.answer.items] for call in calls if call.answer]
        if given and not any(answer[: len(given)] == given for answer in answers):
            self._sequence.problem(f"{self._name} ({self._kind}) was given {given}, no one answer of {answers}")
        finished = [call for call in calls if call.is_completed]
        if heard.is_completed:
            self._take(heard, finished[-1].account if finished else "")
            if not finished or given != answers[-1]:
                self._sequence.problem(f"{self._name} ({self._kind}) was told it has an answer that is none")
        elif finished and not gateway.is_dead:
            self._sequence.problem(f"{self._name} ({self._kind}) never got an answer that upstream finished")
        failed = {call.account for call in calls if not call.is_completed}
        is_bolt = bool(calls) and (calls[-1].is_visible or calls[-1].is_silent or heard.failure in LOST)
        return heard, failed, calls[-1].account if is_bolt else ""

    def _take(self, heard: Heard, account: str) -> None:
        self._items += heard.items
        self._sequence.verdict.moves += self._account not in ("", account)
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
            self._sequence.problem(f"{self._name} ran {call_id} twice")
        self._ran.add(call_id)
        return [{"type": "function_call_output", "call_id": call_id, "output": "done"}]
