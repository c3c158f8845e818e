"""Ends sign-ins: with the address a browser came back to, or when a device's code was typed.

A code is good once. So whoever has it first claims the sign-in in the database; everybody else who comes with it
(a page loaded twice, the address pasted as well) waits for them and is told how it ended.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

import anyio
import structlog

from codex_lb.control.domain.account import Login
from codex_lb.control.domain.callback import Callback, read_url, refusal_of
from codex_lb.control.domain.enrolment import (
    Flow,
    FlowMethod,
    FlowStage,
    asking,
    exchanging,
    failed,
    still_waiting,
    succeeded,
    tried_in_vain,
)
from codex_lb.control.domain.ids import FlowId
from codex_lb.control.errors import (
    ControlError,
    CredentialUnreadableError,
    FlowChangedError,
    InvalidCallbackError,
    IssuerRefusedError,
    IssuerUnavailableError,
    OtherSeatError,
    StoreConflictError,
    StoreUnavailableError,
)
from codex_lb.control.usecases.flow_secrets import digest_of, open_secret
from codex_lb.control.usecases.import_accounts import ImportAccounts, SignedIn
from codex_lb.control.usecases.ports import Store, UnitOfWork
from codex_lb.control.usecases.sign_in_ports import Issuer, NotYet
from codex_lb.control.usecases.vault_ports import Sealed, Vault
from codex_lb.control.usecases.view_flows import found
from codex_lb.kit.clock import Clock
from codex_lb.kit.uninterrupted import uninterrupted

LOOK_AGAIN_S = 0.1  # how soon those who wait for another's exchange learn of its end
STORE_WITHIN_S = 15.0  # added to the exchange's own bound: a claim outlives both
STORE_TRIES_MAX = 3  # a rotation of the same account may come between; hardly ever twice

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class FinishFlow:
    """The verb, in its three forms."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        issuer: Issuer,
        import_: ImportAccounts,
        clock: Clock,
        *,
        exchange_max_s: float,
    ) -> None:
        self._store = store
        self._vault = vault
        self._issuer = issuer
        self._import = import_
        self._clock = clock
        self._claimed_for = timedelta(seconds=exchange_max_s + STORE_WITHIN_S)

    async def by_callback(self, callback: Callback) -> Flow:
        """The sign-in after the browser came back, however it stands then. Raises InvalidCallbackError."""
        return await self._finish(callback, None)

    async def by_pasted_url(self, flow_id: FlowId | None, url: str) -> Flow:
        """The same for an address that somebody pasted. Raises InvalidCallbackError or FlowNotFoundError.

        An address of another sign-in than `flow_id` is refused, and leaves both as they are.
        """
        callback = read_url(url)
        if flow_id is not None:
            async with self._store.begin(writing=False) as unit:
                flow, _ = await found(unit, flow_id)
            if flow.method is not FlowMethod.BROWSER:
                raise InvalidCallbackError("This sign-in waits for its code to be typed, not for an address.")
        return await self._finish(callback, flow_id)

    async def _finish(self, callback: Callback, flow_id: FlowId | None) -> Flow:
        while True:
            flow, sealed = await self._of_state(callback.state, flow_id)
            stage = flow.stage_at(self._clock.now())
            match stage:
                case FlowStage.EXCHANGING:
                    await anyio.sleep(LOOK_AGAIN_S)
                case FlowStage.PENDING:
                    # Whoever hangs up now must not lose the login: a code that was sent is spent.
                    if ended := await uninterrupted(self._end(flow, sealed, callback)):
                        return ended
                case _:
                    return replace(flow, stage=stage)

    async def _end(self, flow: Flow, sealed: Sealed, callback: Callback) -> Flow | None:
        """None when somebody else was faster."""
        if not callback.code:
            return await self._save(failed(flow, refusal_of(callback)))
        claimed = await self._save(exchanging(flow, until=self._clock.now() + self._claimed_for))
        return None if claimed is None else await self._exchange(claimed, sealed, callback.code)

    async def _of_state(self, state: str, flow_id: FlowId | None) -> tuple[Flow, Sealed]:
        async with self._store.begin(writing=False) as unit:
            held = await unit.flows.by_state(digest_of(state))
        if held is None or (flow_id is not None and held[0].flow_id != flow_id):
            raise InvalidCallbackError(
                "That address belongs to another sign-in: its state is not the one this sign-in was started with."
                " This sign-in still waits for its own."
            )
        return held

    async def _exchange(self, flow: Flow, sealed: Sealed, code: str) -> Flow:
        try:
            secret = open_secret(self._vault, flow, sealed)
            login = await self._issuer.exchange(code, verifier=secret.verifier, redirect_uri=secret.redirect_uri)
        except IssuerUnavailableError as error:
            return await self._told(tried_in_vain(flow, f"{error} Load the page again, or paste its address."))
        except (IssuerRefusedError, CredentialUnreadableError) as error:
            return await self._told(failed(flow, f"{error} Start again."))
        return await self._store_login(flow, login)

    async def poll_devices(self) -> None:
        """Asks the issuer for every device that is due and that no other replica is asking for."""
        now = self._clock.now()
        async with self._store.begin(writing=False) as unit:
            live = await unit.flows.live(now=now)
        async with anyio.create_task_group() as asking_all:
            for flow, sealed in live:
                if flow.method is FlowMethod.DEVICE and flow.poll_at is not None and flow.poll_at <= now:
                    asking_all.start_soon(uninterrupted, self._poll(flow, sealed))  # as above

    async def _poll(self, flow: Flow, sealed: Sealed) -> None:
        try:
            claimed = await self._save(asking(flow, until=self._clock.now() + self._claimed_for))
            if claimed is not None:
                await self._take_answer(claimed, sealed)
        except ControlError as error:
            log.warning("a device's sign-in waits", flow_id=flow.flow_id, why=str(error))

    async def _take_answer(self, flow: Flow, sealed: Sealed) -> None:
        try:
            secret = open_secret(self._vault, flow, sealed)
            answer = await self._issuer.poll_device(secret.device_auth_id, secret.user_code)
        except IssuerUnavailableError as error:
            await self._save(still_waiting(flow, now=self._clock.now(), problem=str(error)))
        except (IssuerRefusedError, CredentialUnreadableError) as error:
            await self._told(failed(flow, f"{error} Start again."))
        else:
            match answer:
                case NotYet(slow_down=slow_down):
                    await self._save(still_waiting(flow, now=self._clock.now(), slow_down=slow_down))
                case Login():
                    await self._store_login(flow, answer)

    async def _store_login(self, flow: Flow, login: Login) -> Flow:
        """Together with the end of the sign-in, or not at all: one that was called off adds no account."""

        async def end(unit: UnitOfWork, signed_in: SignedIn) -> None:
            if not await unit.flows.save(succeeded(flow, signed_in.account_id, is_account_new=signed_in.is_new)):
                raise FlowChangedError("The sign-in was ended meanwhile; its login was thrown away.")

        for tries_left in reversed(range(STORE_TRIES_MAX)):
            try:
                signed_in = await self._import.sign_in(login, target=flow.target, together_with=end)
            except OtherSeatError as error:
                return await self._told(failed(flow, str(error)))
            except FlowChangedError:
                return await self._now(flow)
            except (StoreConflictError, StoreUnavailableError) as error:
                if not tries_left:
                    return await self._told(failed(flow, f"The login could not be stored: {error}. Start again."))
            else:
                log.info("signed in", flow_id=flow.flow_id, account_id=signed_in.account_id, is_new=signed_in.is_new)
                return succeeded(flow, signed_in.account_id, is_account_new=signed_in.is_new)
        raise AssertionError("the last try returns")

    async def _told(self, ended: Flow) -> Flow:
        """Stores an end that is none to be glad of, and says so in the log; somebody else's end stands."""
        log.warning("sign-in did not succeed", flow_id=ended.flow_id, why=ended.problem)
        try:
            return await self._save(ended) or await self._now(ended)
        except ControlError:
            return ended  # the database is away; the person is told all the same

    async def _now(self, flow: Flow) -> Flow:
        async with self._store.begin(writing=False) as unit:
            current, _ = await found(unit, flow.flow_id)
        return current

    async def _save(self, flow: Flow) -> Flow | None:
        """The flow as stored; None when somebody changed it meanwhile."""
        async with self._store.begin(writing=True) as unit:
            is_saved = await unit.flows.save(flow)
        return replace(flow, revision=flow.revision + 1) if is_saved else None
