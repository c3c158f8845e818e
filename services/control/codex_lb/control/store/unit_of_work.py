"""One transaction with the repositories that work in it."""

from __future__ import annotations

from contextlib import suppress
from types import TracebackType
from typing import Self

from sqlalchemy.ext.asyncio import AsyncEngine

from codex_lb.control.errors import StoreUnavailableError
from codex_lb.control.store.news import Sieve
from codex_lb.control.store.repositories.accounts import SqlAccounts
from codex_lb.control.store.repositories.alerts import SqlAlerts
from codex_lb.control.store.repositories.api_keys import SqlApiKeys
from codex_lb.control.store.repositories.catalogs import SqlCatalogs
from codex_lb.control.store.repositories.evidence import EvidenceLog
from codex_lb.control.store.repositories.exchanges import SqlExchanges
from codex_lb.control.store.repositories.fingerprints import SqlFingerprints
from codex_lb.control.store.repositories.flows import SqlFlows
from codex_lb.control.store.repositories.reports import SqlReports
from codex_lb.control.store.repositories.request_log import SqlRequestLog
from codex_lb.control.store.repositories.rollups import SqlRollups
from codex_lb.control.store.repositories.sealed_rows import SqlSealedRows
from codex_lb.control.store.repositories.settings import SqlSettings
from codex_lb.control.store.repositories.spendings import SqlSpendings
from codex_lb.control.store.repositories.terms import SqlTerms
from codex_lb.control.store.repositories.turns import SqlTurns
from codex_lb.control.store.repositories.web_access import SqlWebAccess
from codex_lb.control.store.transaction import Transaction
from codex_lb.control.usecases.alert_ports import Alerts
from codex_lb.control.usecases.ledger_ports import Turns
from codex_lb.control.usecases.limit_ports import Spendings
from codex_lb.control.usecases.log_ports import RequestLog, Rollups
from codex_lb.control.usecases.ports import Accounts, ApiKeys, Catalogs, Exchanges, SettingsRows, Terms
from codex_lb.control.usecases.sign_in_ports import Flows
from codex_lb.control.usecases.vault_ports import Fingerprints, SealedRows
from codex_lb.control.usecases.web_access_ports import WebAccessRows


class SqlUnitOfWork:
    """Begins when entered; commits when left, or rolls back on an exception."""

    def __init__(self, engine: AsyncEngine, sieve: Sieve, *, is_writing: bool) -> None:
        self._transaction = Transaction(engine, is_writing=is_writing)
        self._log = EvidenceLog(self._transaction, sieve)
        rollups = SqlRollups(self._transaction)
        self.accounts: Accounts = SqlAccounts(self._transaction, self._log, rollups)
        self.api_keys: ApiKeys = SqlApiKeys(self._transaction)
        self.spendings: Spendings = SqlSpendings(self._transaction)
        self.exchanges: Exchanges = SqlExchanges(self._transaction)
        self.turns: Turns = SqlTurns(self._transaction, rollups)
        self.request_log: RequestLog = SqlRequestLog(self._transaction)
        self.rollups: Rollups = SqlReports(self._transaction)
        self.alerts: Alerts = SqlAlerts(self._transaction)
        self.catalogs: Catalogs = SqlCatalogs(self._transaction)
        self.terms: Terms = SqlTerms(self._transaction)
        self.fingerprints: Fingerprints = SqlFingerprints(self._transaction)
        self.sealed_rows: SealedRows = SqlSealedRows(self._transaction)
        self.flows: Flows = SqlFlows(self._transaction)
        self.settings: SettingsRows = SqlSettings(self._transaction)
        self.web_access: WebAccessRows = SqlWebAccess(self._transaction)

    async def __aenter__(self) -> Self:
        await self._transaction.begin()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            with suppress(StoreUnavailableError):  # it is rolled back then by the database, and `error` says more
                await self._transaction.end(commit=False)
            return
        await self._transaction.end(commit=True)
        self._log.committed()
