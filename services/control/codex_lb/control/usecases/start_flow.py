"""Begins a sign-in: a page for a browser, or a code to be typed on any device."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

import structlog

from codex_lb.control.domain.enrolment import FLOW_KEPT_S, FLOW_TTL_S, FLOWS_LIVE_MAX, Flow, FlowMethod, FlowStage
from codex_lb.control.domain.ids import AccountId, FlowId
from codex_lb.control.errors import TooManyFlowsError
from codex_lb.control.usecases.flow_secrets import FlowSecret, digest_of, seal
from codex_lb.control.usecases.pool import Pool
from codex_lb.control.usecases.ports import Store
from codex_lb.control.usecases.sign_in_ports import CallbackPort, Issuer
from codex_lb.control.usecases.vault_ports import Vault
from codex_lb.control.usecases.view_accounts import member_of
from codex_lb.kit.clock import Clock

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Started:
    """A sign-in with all that a person needs, told once."""

    flow: Flow
    authorization_url: str = ""
    callback_problem: str = ""
    verification_url: str = ""
    user_code: str = ""

    def __repr__(self) -> str:
        return f"Started({self.flow.flow_id})"


class StartFlow:
    """The verb."""

    def __init__(
        self,
        pool: Pool,
        store: Store,
        vault: Vault,
        issuer: Issuer,
        port: CallbackPort,
        clock: Clock,
        *,
        new_flow_id: Callable[[], str],
        new_secret: Callable[[], str],
    ) -> None:
        self._pool = pool
        self._store = store
        self._vault = vault
        self._issuer = issuer
        self._port = port
        self._clock = clock
        self._new_flow_id = new_flow_id
        self._new_secret = new_secret
        self.has_begun = asyncio.Event()  # set with every start, for whoever keeps sign-ins going

    async def __call__(self, method: FlowMethod, target: AccountId | None) -> Started:
        """Raises AccountNotFoundError, TooManyFlowsError, IssuerRefusedError or IssuerUnavailableError."""
        if target is not None:
            member_of(self._pool, target)
        flow_id = FlowId(self._new_flow_id())
        match method:
            case FlowMethod.BROWSER:
                started = await self._browser(flow_id, target)
            case FlowMethod.DEVICE:
                started = await self._device(flow_id, target)
        log.info("sign-in started", flow_id=flow_id, method=method.value, account_id=target)
        return started

    async def _browser(self, flow_id: FlowId, target: AccountId | None) -> Started:
        state, verifier = self._new_secret(), self._new_secret()
        now = self._clock.now()
        flow = Flow(
            flow_id=flow_id,
            method=FlowMethod.BROWSER,
            stage=FlowStage.PENDING,
            target=target,
            state_digest=digest_of(state),
            created_at=now,
            expires_at=now + timedelta(seconds=FLOW_TTL_S),
        )
        await self._add(flow, FlowSecret(flow_id, verifier=verifier, redirect_uri=self._issuer.redirect_uri))
        return Started(
            flow,
            authorization_url=self._issuer.authorization_url(state=state, verifier=verifier),
            callback_problem=await self._port.open(),
        )

    async def _device(self, flow_id: FlowId, target: AccountId | None) -> Started:
        code = await self._issuer.begin_device()
        now = self._clock.now()
        flow = Flow(
            flow_id=flow_id,
            method=FlowMethod.DEVICE,
            stage=FlowStage.PENDING,
            target=target,
            state_digest="",
            created_at=now,
            expires_at=now + timedelta(seconds=min(code.ttl_s, FLOW_TTL_S)),
            poll_at=now + timedelta(seconds=code.poll_period_s),
            poll_period_s=code.poll_period_s,
        )
        await self._add(flow, FlowSecret(flow_id, device_auth_id=code.device_auth_id, user_code=code.user_code))
        return Started(flow, verification_url=code.verification_url, user_code=code.user_code)

    async def _add(self, flow: Flow, secret: FlowSecret) -> None:
        async with self._store.begin(writing=True) as unit:
            await unit.flows.purge(before=flow.created_at - timedelta(seconds=FLOW_KEPT_S))
            if len(await unit.flows.live(now=flow.created_at)) >= FLOWS_LIVE_MAX:
                raise TooManyFlowsError(
                    f"{FLOWS_LIVE_MAX} sign-ins are under way. Finish or cancel one, or wait until it expires."
                )
            await unit.flows.add(flow, seal(self._vault, secret))
        self.has_begun.set()  # before the port is opened, so that nobody takes it for one that is not needed
