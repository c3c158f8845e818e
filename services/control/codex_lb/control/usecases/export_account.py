"""Hands out an account's login, as a file that the Codex CLI reads."""

from __future__ import annotations

from collections.abc import Callable

import structlog

from codex_lb.control.domain.account import Account, Credential
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.usecases.pool import Pool
from codex_lb.control.usecases.vault_ports import Vault
from codex_lb.control.usecases.view_accounts import member_of

log: structlog.stdlib.BoundLogger = structlog.get_logger(__name__)


class ExportAccount:
    """The verb. Who calls it holds a secret then: a refresh token works once, for them or for the pool."""

    def __init__(self, pool: Pool, vault: Vault, *, write_login: Callable[[Account, Credential], bytes]) -> None:
        self._pool = pool
        self._vault = vault
        self._write_login = write_login

    def __call__(self, account_id: AccountId) -> bytes:
        """Raises AccountNotFoundError or CredentialUnreadableError."""
        member = member_of(self._pool, account_id)
        content = self._write_login(member.account, self._vault.open(member.sealed))
        log.warning("login handed out", account_id=account_id)
        return content
