"""Keeps sign-ins going that wait for somebody: asks for devices, and holds the callback port no longer than needed."""

from __future__ import annotations

import asyncio

import anyio
import structlog

from codex_lb.control.domain.enrolment import FlowMethod
from codex_lb.control.errors import ControlError
from codex_lb.control.usecases.finish_flow import FinishFlow
from codex_lb.control.usecases.ports import Store
from codex_lb.control.usecases.sign_in_ports import CallbackPort
from codex_lb.kit.clock import Clock

IDLE_LOOK_S = 5.0  # how soon a replica takes over the sign-ins of another that died

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class FlowKeeper:
    """What goes on while nobody calls. Every replica has one; the database says who does what."""

    def __init__(
        self, store: Store, finish: FinishFlow, port: CallbackPort, clock: Clock, *, has_begun: asyncio.Event
    ) -> None:
        self._store = store
        self._finish = finish
        self._port = port
        self._clock = clock
        self._has_begun = has_begun

    async def run(self, tick_s: float) -> None:
        """Looks every `tick_s` seconds while a sign-in waits, and now and then otherwise."""
        while True:
            self._has_begun.clear()
            has_live = True
            try:
                has_live = await self.look()
            except ControlError as error:
                log.warning("sign-ins wait", why=str(error))
            if has_live:
                await anyio.sleep(tick_s)
            else:
                with anyio.move_on_after(max(tick_s, IDLE_LOOK_S)):
                    await self._has_begun.wait()

    async def look(self) -> bool:
        """Does once what is due; whether any sign-in waits. Raises StoreUnavailableError."""
        async with self._store.begin(writing=False) as unit:
            live = await unit.flows.live(now=self._clock.now())
        if any(flow.method is FlowMethod.BROWSER for flow, _ in live):
            await self._port.open()
        elif not self._has_begun.is_set():  # one that was stored after we looked has opened the port already
            await self._port.close()
        await self._finish.poll_devices()
        return bool(live)
