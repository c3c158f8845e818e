"""What letting people in needs of the store."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Protocol

from codex_lb.control.domain.ids import WebSessionId
from codex_lb.control.domain.web_access import SignInLink, WebSession
from codex_lb.control.usecases.vault_ports import Sealed


class WebAccessRows(Protocol):
    """Sign-in links and web sessions."""

    async def links(self) -> Sequence[tuple[SignInLink, Sealed | None]]:
        """All, also those that work no more, oldest first; with the secret of those that have to be shown again."""
        ...

    async def add_link(self, link: SignInLink, sealed: Sealed | None = None) -> bool:
        """False when there is one of that id."""
        ...

    async def spend(self, link_id: str, digest: bytes, *, at: datetime) -> bool:
        """False when somebody else was faster, or the link is another one meanwhile."""
        ...

    async def remove_link(self, link_id: str, digest: bytes) -> None:
        """Unless it is another one meanwhile."""
        ...

    async def add(self, session: WebSession) -> None:
        """A new one."""
        ...

    async def by_digest(self, digest: bytes) -> WebSession | None:
        """The session whose secret has that digest."""
        ...

    async def seen(self, session_id: WebSessionId, *, at: datetime) -> None:
        """It was there."""
        ...

    async def sessions(self) -> Sequence[WebSession]:
        """All that are stored, newest first."""
        ...

    async def remove(self, session_id: WebSessionId) -> bool:
        """False when there is none of that id."""
        ...
