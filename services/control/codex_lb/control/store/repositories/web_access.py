"""Sign-in links and web sessions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from sqlalchemy import RowMapping, delete, insert, select, update

from codex_lb.control.domain.ids import WebSessionId
from codex_lb.control.domain.web_access import SignInLink, Way, WebSession
from codex_lb.control.store.repositories.inserts import insert_into
from codex_lb.control.store.tables import sign_in_links, web_sessions
from codex_lb.control.store.transaction import Transaction
from codex_lb.control.usecases.vault_ports import Sealed

_ERASED = {"key_id": "", "ciphertext": b""}


class SqlWebAccess:
    """The port over `sign_in_links` and `web_sessions`."""

    def __init__(self, transaction: Transaction) -> None:
        self._transaction = transaction

    async def links(self) -> Sequence[tuple[SignInLink, Sealed | None]]:
        rows = await self._transaction.run(
            select(sign_in_links).order_by(sign_in_links.c.created_at, sign_in_links.c.link_id)
        )
        return [
            (_link_of(row), Sealed(row["key_id"], row["ciphertext"]) if row["key_id"] else None)
            for row in rows.mappings()
        ]

    async def add_link(self, link: SignInLink, sealed: Sealed | None = None) -> bool:
        row = {
            "link_id": link.link_id,
            "way": link.way.value,
            "digest": link.digest,
            "created_at": link.created_at,
            "expires_at": link.expires_at,
            "spent_at": link.spent_at,
        } | ({"key_id": sealed.key_id, "ciphertext": sealed.ciphertext} if sealed else _ERASED)
        new = insert_into(sign_in_links, self._transaction.dialect).on_conflict_do_nothing()
        added = await self._transaction.run(new.returning(sign_in_links.c.link_id), row)
        return added.one_or_none() is not None

    async def spend(self, link_id: str, digest: bytes, *, at: datetime) -> bool:
        mine = (sign_in_links.c.link_id == link_id) & (sign_in_links.c.digest == digest)
        spent = await self._transaction.run(
            update(sign_in_links).where(mine, sign_in_links.c.spent_at.is_(None)).values(spent_at=at, **_ERASED)
        )
        return spent.rowcount > 0

    async def remove_link(self, link_id: str, digest: bytes) -> None:
        mine = (sign_in_links.c.link_id == link_id) & (sign_in_links.c.digest == digest)
        await self._transaction.run(delete(sign_in_links).where(mine))

    async def add(self, session: WebSession) -> None:
        row = {
            "session_id": session.session_id,
            "digest": session.digest,
            "way": session.way.value,
            "created_at": session.created_at,
            "seen_at": session.seen_at,
            "address": session.address,
            "user_agent": session.user_agent,
        }
        await self._transaction.run(insert(web_sessions), row)

    async def by_digest(self, digest: bytes) -> WebSession | None:
        rows = await self._transaction.run(select(web_sessions).where(web_sessions.c.digest == digest))
        row = rows.mappings().one_or_none()
        return _session_of(row) if row is not None else None

    async def seen(self, session_id: WebSessionId, *, at: datetime) -> None:
        # Never backwards: two controls may have clocks that differ.
        mine = (web_sessions.c.session_id == session_id) & (web_sessions.c.seen_at < at)
        await self._transaction.run(update(web_sessions).where(mine).values(seen_at=at))

    async def sessions(self) -> Sequence[WebSession]:
        newest_first = (web_sessions.c.created_at.desc(), web_sessions.c.session_id.desc())
        rows = await self._transaction.run(select(web_sessions).order_by(*newest_first))
        return [_session_of(row) for row in rows.mappings()]

    async def remove(self, session_id: WebSessionId) -> bool:
        removed = await self._transaction.run(delete(web_sessions).where(web_sessions.c.session_id == session_id))
        return removed.rowcount > 0


def _link_of(row: RowMapping) -> SignInLink:
    return SignInLink(
        link_id=row["link_id"],
        way=Way(row["way"]),
        digest=row["digest"],
        created_at=row["created_at"],
        expires_at=row["expires_at"],
        spent_at=row["spent_at"],
    )


def _session_of(row: RowMapping) -> WebSession:
    return WebSession(
        session_id=WebSessionId(row["session_id"]),
        digest=row["digest"],
        way=Way(row["way"]),
        created_at=row["created_at"],
        seen_at=row["seen_at"],
        address=row["address"],
        user_agent=row["user_agent"],
    )
