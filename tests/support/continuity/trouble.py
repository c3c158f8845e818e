"""Faults, drawn one after another: of accounts, of gateways, of control, and what operators do."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress

from codex_lb.control.domain.ids import AccountId
from tests.support.continuity.accounts import SimAccount
from tests.support.continuity.control import LAPSE_EVERY_S, LEASE_TTL_S
from tests.support.continuity.world import World

EVERY_S = 6.0  # on average
SILENT = (
    "limit:{s}", "limit_event:{s}", "limit_close:{s}", "rate_limited:2", "overloaded", "http:500", "http:502", "html:403",
    "refuse", "cut_before_output", "failed:server_error", "failed_first:server_error", "error:server_is_overloaded",
    "error_first:server_error", "close_silent:1000", "close_silent:1009", "close_silent:1011", "hang", "hang_headers",
    "handshake+http:500", "handshake+http:426", "handshake+html:403", "handshake+refuse",
)  # fmt: skip
ONCE = (
    "http:400:invalid_encrypted_content", "http:400:previous_response_not_found",
    "failed_first:previous_response_not_found", "failed:invalid_encrypted_content",
)  # fmt: skip  # what upstream held is lost
VISIBLE = ("eof", "cut_after:2500", "close:1011", "close:1009")
SICK = 10  # calls that fail on an account before it is well again
MOMENT_S = 10.0  # how long the worst moment is waited for


class Trouble:
    """What happens to a world, for as long as it runs."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._draws = world.draws
        self._later: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """One thing after another."""
        draws = self._draws
        happen: list[tuple[int, Callable[[], object]]] = [
            (40, self._fail_silently),
            (10, self._break_visibly),
            (10, self._sicken),
            (3, self._cut_at_end),
            (4, self._lose_state),
            (6, self._pause),
            (3, self._delete),
            (3, self._world.add_account),
            (6, self._end_login),
            (8, self._cut),
            (1, self._outage),
        ]
        while True:
            await asyncio.sleep(draws.expovariate(1 / EVERY_S))
            kind = draws.random()
            if kind < 0.06:
                await self._kill_gateway()
            elif kind < 0.12:
                await self._restart_control()
            else:
                [do] = draws.choices([do for _, do in happen], [weight for weight, _ in happen])
                do()
                self._note(do)

    def end(self) -> None:
        """What was to be mended later is not."""
        for task in self._later:
            task.cancel()

    def _note(self, do: Callable[[], object]) -> None:
        scripts = {a.name: list(a.script)[:4] for a in self._world.upstream.accounts.values() if a.script}
        self._world.history.note(f"trouble: {do.__name__.strip('_')}; {scripts}")

    def _after(self, seconds: float, do: Callable[[], None]) -> None:
        async def wait() -> None:
            await asyncio.sleep(seconds)
            do()

        task = asyncio.create_task(wait())
        self._later.add(task)
        task.add_done_callback(self._later.discard)

    def _account(self) -> SimAccount:
        pooled = [self._world.upstream.accounts[name] for name in self._world.site.durable.accounts]
        return self._draws.choice(pooled)

    def _fail_silently(self) -> None:
        step = self._draws.choice(SILENT).format(s=self._draws.choice((5, 30, 300)))
        self._account().script.extend([step] * self._draws.choice((1, 1, 2, 4)))

    def _lose_state(self) -> None:
        self._account().script.append(self._draws.choice(ONCE))

    def _break_visibly(self) -> None:
        self._account().script.extend([self._draws.choice(VISIBLE)] * self._draws.choice((1, 2, 3)))

    def _sicken(self) -> None:
        step = self._draws.choice((*SILENT, *VISIBLE, *VISIBLE)).format(s=5)
        self._account().script.extend([step] * self._draws.randint(SICK // 2, SICK))

    def _cut_at_end(self) -> None:
        self._account().script.append("cut_at_end")

    def _outage(self) -> None:
        step = self._draws.choice(("http:500", "overloaded", "refuse"))
        for account in self._world.upstream.accounts.values():
            account.script.extend([step] * 2)

    def _cut(self) -> None:
        account = self._account()
        for call in self._world.upstream.calls:
            call.is_cut = call.is_cut or (call.account == account.name and not call.is_completed)

    def _pause(self) -> None:
        account, control = self._account(), self._world.control
        if control is None or account.name in self._world.unable:
            return
        account_id = AccountId(account.name)
        control.pause(account_id, is_paused=True)
        self._world.unable.add(account.name)

        def resume() -> None:
            running = self._world.control
            if running is not None and account_id in self._world.site.durable.accounts:
                running.pause(account_id, is_paused=False)
                self._world.unable.discard(account.name)
                self._world.changed[account.name] = self._world.clock.monotonic()

        self._after(self._draws.uniform(5, 60), resume)

    def _delete(self) -> None:
        control = self._world.control
        if control is not None and len(self._world.site.durable.accounts) > 2:
            control.delete(AccountId(self._account().name))

    def _end_login(self) -> None:
        account = self._account()
        account.is_dead = True

        def renew() -> None:
            control, account_id = self._world.control, AccountId(account.name)
            if control is not None and account_id in self._world.site.durable.accounts:
                control.renew_login(account_id)
                account.token = self._world.site.durable.accounts[account_id][1]
                account.is_dead = False
                self._world.changed[account.name] = self._world.clock.monotonic()

        self._after(self._draws.uniform(3, 30), renew)

    async def _worst_moment(self, moment: asyncio.Event) -> None:
        if self._draws.random() < 0.5:
            with suppress(TimeoutError):
                async with asyncio.timeout(MOMENT_S):
                    await moment.wait()

    async def _kill_gateway(self) -> None:
        world = self._world
        await self._worst_moment(world.answered)  # when nobody was told whose the answer's thoughts are
        full = [n for n, gateway in enumerate(world.gateways) if gateway.leases.has_unsettled]
        gateway = world.gateways.pop(full[0] if full else self._draws.randrange(len(world.gateways)))
        killed_at = world.killed_at[gateway.leases.replica_id] = world.clock.monotonic()
        for account_id in gateway.leases.accounts_held():  # its slots are taken until it is missed
            world.changed[account_id] = killed_at + LEASE_TTL_S + LAPSE_EVERY_S
        await gateway.kill()
        world.history.note(f"trouble: {gateway.leases.replica_id} is killed")
        await asyncio.sleep(self._draws.uniform(0.2, 2))
        world.gateways.append(world.new_gateway())

    async def _restart_control(self) -> None:
        world = self._world
        await self._worst_moment(world.refused)  # when somebody is about to try again
        await asyncio.sleep(self._draws.uniform(0.0, 0.1))
        world.site.kill()
        world.history.note("trouble: control is killed")
        await asyncio.sleep(self._draws.uniform(0.5, 4))
        await world.site.start()
        world.restarted_at = world.clock.monotonic()
        world.history.note("trouble: control is started")
