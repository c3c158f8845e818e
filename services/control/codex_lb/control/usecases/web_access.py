"""Lets people in with a browser, and out again. Everything is in the store, so that it holds at every control at once."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import msgspec
import structlog

from codex_lb.control.domain.ids import WebSessionId
from codex_lb.control.domain.web_access import (
    BOOTSTRAP,
    FIXED,
    LINK_TTL,
    LINKS_MAX,
    SEEN_EVERY,
    USER_AGENT_CHARS_MAX,
    SignInLink,
    Way,
    WebSecret,
    WebSession,
    matching,
    superfluous,
)
from codex_lb.control.errors import CredentialUnreadableError, SignInRefusedError, WebSessionNotFoundError
from codex_lb.control.usecases.ports import Store, UnitOfWork
from codex_lb.control.usecases.vault_ports import Sealed, Vault
from codex_lb.kit.clock import Clock

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Invitation:
    """How the first person gets in."""

    secret: WebSecret | None  # None: the environment fixes it, and whoever set it knows it


class WebAccess:
    """The verbs. Each may raise StoreUnavailableError."""

    def __init__(
        self,
        store: Store,
        vault: Vault,
        clock: Clock,
        *,
        fixed_secret: WebSecret | None,
        new_id: Callable[[str], str],
        new_secret: Callable[[], WebSecret],
    ) -> None:
        self._store = store
        self._vault = vault
        self._clock = clock
        self._fixed_secret = fixed_secret
        self._new_id = new_id
        self._new_secret = new_secret

    async def invite(self) -> Invitation:
        """Makes sure that somebody who reads the terminal can come in: with the fixed token while nobody has used it, else
        with one that is made once and shared by all controls, and made anew when it was used.
        """
        async with self._store.begin(writing=True) as unit:
            if await self._is_fixed(unit):
                return Invitation(None)
            return Invitation(await self._bootstrap(unit))

    async def new_link(self) -> tuple[SignInLink, WebSecret]:
        """A link with a short life, for whoever is allowed to ask for one."""
        now, secret = self._clock.now(), self._new_secret()
        link = SignInLink(self._new_id("link"), Way.LINK, secret.digest, now, now + LINK_TTL)
        async with self._store.begin(writing=True) as unit:
            asked_for = [one for one, _ in await unit.web_access.links() if one.way is Way.LINK]
            kept = [one for one in asked_for if one.works_at(now)][-LINKS_MAX + 1 :]
            for old in asked_for:
                if old not in kept:
                    await unit.web_access.remove_link(old.link_id, old.digest)
            await unit.web_access.add_link(link)
        log.info("a sign-in link was made", link_id=link.link_id)
        return link, secret

    async def sign_in(
        self, given: WebSecret, *, address: str, user_agent: str, before: WebSecret | None
    ) -> tuple[WebSession, WebSecret]:
        """A new session for whoever has the secret of a link, which is spent by it. Ends the session that the same browser
        had before. Raises SignInRefusedError.
        """
        now, secret = self._clock.now(), self._new_secret()
        async with self._store.begin(writing=False) as unit:
            links = [link for link, _ in await unit.web_access.links()]
        link = matching(links, given)
        if link is None or not link.works_at(now):
            raise SignInRefusedError(_NO_SUCH_LINK)
        session = WebSession(
            session_id=WebSessionId(self._new_id("web")),
            digest=secret.digest,
            way=link.way,
            created_at=now,
            seen_at=now,
            address=address,
            user_agent=user_agent[:USER_AGENT_CHARS_MAX],
        )
        async with self._store.begin(writing=True) as unit:
            if not await unit.web_access.spend(link.link_id, link.digest, at=now):
                raise SignInRefusedError(_NO_SUCH_LINK)
            known = await unit.web_access.sessions()
            living = [one for one in known if one.lives_at(now) and (before is None or one.digest != before.digest)]
            kept = {one.session_id for one in living} - {one.session_id for one in superfluous(living)}
            for one in known:
                if one.session_id not in kept:
                    await unit.web_access.remove(one.session_id)
            await unit.web_access.add(session)
        log.info("somebody signed in", web_session_id=session.session_id, way=session.way.value, address=address)
        return session, secret

    async def session_of(self, secret: WebSecret) -> WebSession | None:
        """The session of a cookie, if it lives."""
        now = self._clock.now()
        async with self._store.begin(writing=False) as unit:
            session = await unit.web_access.by_digest(secret.digest)
        if session is None or not session.lives_at(now):
            return None
        if now - session.seen_at >= SEEN_EVERY:
            async with self._store.begin(writing=True) as unit:
                await unit.web_access.seen(session.session_id, at=now)
        return session

    async def sessions(self) -> Sequence[WebSession]:
        """All that live, newest first."""
        now = self._clock.now()
        async with self._store.begin(writing=False) as unit:
            return [session for session in await unit.web_access.sessions() if session.lives_at(now)]

    async def end(self, session_id: WebSessionId) -> None:
        """Whoever has its cookie is a stranger from now on, at every control. Raises WebSessionNotFoundError."""
        async with self._store.begin(writing=True) as unit:
            if not await unit.web_access.remove(session_id):
                raise WebSessionNotFoundError(f"There is no web session {session_id!r}.")
        log.info("a web session was ended", web_session_id=session_id)

    async def _is_fixed(self, unit: UnitOfWork) -> bool:
        """Puts the fixed token in force, in place of one that was made here or fixed before; whether it still lets anybody
        in. One that was used is remembered: it works no more when the next start brings it again.
        """
        links = {link.link_id: link for link, _ in await unit.web_access.links()}
        fixed, made, wanted = links.get(FIXED), links.get(BOOTSTRAP), self._fixed_secret
        if wanted is not None and fixed is not None and fixed.digest == wanted.digest:
            return fixed.spent_at is None
        if fixed is not None and (wanted is not None or fixed.spent_at is None):
            await unit.web_access.remove_link(FIXED, fixed.digest)
        if wanted is None:
            return False
        await unit.web_access.add_link(SignInLink(FIXED, Way.BOOTSTRAP, wanted.digest, self._clock.now(), None))
        if made is not None:
            await unit.web_access.remove_link(BOOTSTRAP, made.digest)
        return True

    async def _bootstrap(self, unit: UnitOfWork) -> WebSecret:
        """The token that is made here, or was made at another control or an earlier start."""
        known = await self._made(unit)
        if known is not None:
            return known
        secret = self._new_secret()
        link = SignInLink(BOOTSTRAP, Way.BOOTSTRAP, secret.digest, self._clock.now(), None)
        if await unit.web_access.add_link(link, _seal(self._vault, secret)):
            return secret
        return await self._made(unit) or secret  # another control was faster

    async def _made(self, unit: UnitOfWork) -> WebSecret | None:
        """The token that was made, while it lets somebody in and can be read; else the way is free for another."""
        for link, sealed in await unit.web_access.links():
            if link.link_id != BOOTSTRAP:
                continue
            secret = _opened(self._vault, sealed) if link.spent_at is None else None
            if secret is None or secret.digest != link.digest:
                await unit.web_access.remove_link(BOOTSTRAP, link.digest)
                return None
            return secret
        return None


class _Inside(msgspec.Struct, frozen=True):
    """What is sealed. It says what it is, so that no other row's secret can be put in its place."""

    bootstrap_token: str

    def __repr__(self) -> str:
        return "_Inside(…)"


def _seal(vault: Vault, secret: WebSecret) -> Sealed:
    return vault.seal_bytes(msgspec.json.encode(_Inside(secret.text)))


def _opened(vault: Vault, sealed: Sealed | None) -> WebSecret | None:
    """None where it cannot be read: then another one is made."""
    if sealed is None:
        return None
    try:
        return WebSecret(msgspec.json.decode(vault.open_bytes(sealed), type=_Inside).bootstrap_token)
    except (CredentialUnreadableError, msgspec.DecodeError):
        return None


_NO_SUCH_LINK = (
    "This link does not work: it was used already, is too old, or is none. On the machine that runs codex-lb,"
    " `codex-lb admin sign-in-link` prints a new one."
)
