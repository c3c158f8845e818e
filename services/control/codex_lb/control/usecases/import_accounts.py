"""Adds logins to the pool, or gives known accounts a newer one. Identity is issuer, user and workspace, never e-mail."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from enum import StrEnum

import structlog

from codex_lb.control.domain.account import Account, Identity, Login
from codex_lb.control.domain.evidence import Record
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.refresh import Task, TicketKind
from codex_lb.control.errors import InvalidAuthFileError, OtherSeatError, StoreConflictError
from codex_lb.control.usecases.policy_feed import PolicyFeed
from codex_lb.control.usecases.pool import Member, Pool
from codex_lb.control.usecases.ports import Store, UnitOfWork
from codex_lb.control.usecases.refresh_ports import Tickets
from codex_lb.control.usecases.vault_ports import SealedCredential, Vault
from codex_lb.kit.clock import Clock

NEVER = datetime.min.replace(tzinfo=UTC)
log = structlog.get_logger(__name__)


class ImportAction(StrEnum):
    """What an import does with a file."""

    CREATE = "create"
    UPDATE = "update"
    REJECT = "reject"


@dataclass(frozen=True, slots=True)
class AuthFile:
    """A file somebody wants imported."""

    display_name: str
    content: bytes


@dataclass(frozen=True, slots=True)
class ImportRow:
    """What happened to one file."""

    display_name: str
    action: ImportAction
    member: Member | None  # None when rejected
    problem: str = ""


@dataclass(frozen=True, slots=True)
class SignedIn:
    """Whose login was stored."""

    account_id: AccountId
    is_new: bool


class ImportAccounts:
    """The verb. All files of a request are stored together, or none is."""

    def __init__(
        self,
        pool: Pool,
        store: Store,
        vault: Vault,
        tickets: Tickets,
        feed: PolicyFeed,
        clock: Clock,
        *,
        read_login: Callable[[bytes], Login],
        new_account_id: Callable[[], str],
    ) -> None:
        self._pool = pool
        self._store = store
        self._vault = vault
        self._tickets = tickets
        self._feed = feed
        self._clock = clock
        self._read_login = read_login
        self._new_account_id = new_account_id

    async def __call__(self, files: Sequence[AuthFile], *, validate_only: bool) -> list[ImportRow]:
        """One row per file, in order. `read_login` raises InvalidAuthFileError for files that cannot be used."""
        logins, problems = self._read(files)
        stored: dict[int, tuple[ImportAction, Account, SealedCredential]] = {}
        async with self._store.begin(writing=not validate_only) as unit:
            for index, login in logins.items():
                known = await unit.accounts.by_identity(login.identity)
                account = self._account(login, known, validate_only=validate_only)
                sealed = self._vault.seal(login.credential, generation=account.generation)
                action = ImportAction.CREATE if known is None else ImportAction.UPDATE
                if not validate_only:
                    await _save(unit, action, account, sealed)
                stored[index] = (action, account, sealed)
        members = {
            index: self._preview(account, sealed) if validate_only else self._pool.put(account, sealed)
            for index, (_, account, sealed) in stored.items()
        }
        if not validate_only:
            await self._announce([account for _, account, _ in stored.values()])
        return [
            ImportRow(file.display_name, stored[index][0], members[index])
            if index in stored
            else ImportRow(file.display_name, ImportAction.REJECT, None, problems[index])
            for index, file in enumerate(files)
        ]

    async def sign_in(
        self,
        login: Login,
        *,
        target: AccountId | None,
        together_with: Callable[[UnitOfWork, SignedIn], Awaitable[None]],
    ) -> SignedIn:
        """Stores one login that somebody just signed in for, in one transaction with what `together_with` writes.

        Raises OtherSeatError when it is not the target's, StoreConflictError when a newer login came meanwhile, and
        whatever `together_with` raises; then nothing is stored.
        """
        async with self._store.begin(writing=True) as unit:
            known = await unit.accounts.by_identity(login.identity)
            if target is not None and (known is None or known.account_id != target):
                raise OtherSeatError(_other_seat(login, self._pool.get(target)))
            account = self._account(login, known, validate_only=False)
            sealed = self._vault.seal(login.credential, generation=account.generation)
            signed_in = SignedIn(account.account_id, is_new=known is None)
            await _save(unit, ImportAction.CREATE if known is None else ImportAction.UPDATE, account, sealed)
            await together_with(unit, signed_in)
        self._pool.put(account, sealed)
        await self._announce([account])
        return signed_in

    def _read(self, files: Sequence[AuthFile]) -> tuple[dict[int, Login], dict[int, str]]:
        """By position: the logins to import, and why the other files are not."""
        logins: dict[int, Login] = {}
        problems: dict[int, str] = {}
        for index, file in enumerate(files):
            try:
                logins[index] = self._read_login(file.content)
            except InvalidAuthFileError as error:
                problems[index] = str(error)
        newest = newest_by_identity(logins)
        for index, login in list(logins.items()):
            if (kept := newest[login.identity]) != index:
                problems[index] = (
                    f"{files[kept].display_name} holds a login of the same account that is as new or newer"
                )
                del logins[index]
        return logins, problems

    def _account(self, login: Login, known: Account | None, *, validate_only: bool) -> Account:
        """The account's row after the import."""
        now = self._clock.now()
        if known is not None:
            return replace(
                known,
                email=login.email or known.email,
                plan=login.plan or known.plan,
                chatgpt_account_id=login.chatgpt_account_id,
                generation=known.generation + 1,
                access_expires_at=login.credential.access_expires_at,
                refreshed_at=min(login.refreshed_at or now, now),
                updated_at=now,
            )
        return Account(
            account_id=AccountId("" if validate_only else self._new_account_id()),
            identity=login.identity,
            email=login.email,
            plan=login.plan,
            chatgpt_account_id=login.chatgpt_account_id,
            alias="",
            generation=1,
            access_expires_at=login.credential.access_expires_at,
            created_at=now,
            updated_at=now,
            refreshed_at=min(login.refreshed_at or now, now),
        )

    def _preview(self, account: Account, sealed: SealedCredential) -> Member:
        known = self._pool.get(account.account_id)
        return Member(account, sealed, known.record if known else Record())

    async def _announce(self, accounts: Sequence[Account]) -> None:
        """What is new is refreshed at once, and gateways hear of it."""
        now = self._clock.now()
        for account in accounts:
            log.info("account imported", account_id=account.account_id, generation=account.generation)
            await self._tickets.hurry(Task(TicketKind.USAGE, account.account_id), now=now)
            await self._tickets.hurry(Task(TicketKind.MODELS, account.plan), now=now)
        self._feed.refresh_pool()


def newest_by_identity(logins: Mapping[int, Login]) -> dict[Identity, int]:
    """For every identity the position of its newest login; of equally new ones the last."""
    newest: dict[Identity, int] = {}
    for index, login in logins.items():
        held = newest.get(login.identity)
        if held is None or _issued(login) >= _issued(logins[held]):
            newest[login.identity] = index
    return newest


def _issued(login: Login) -> tuple[datetime, datetime]:
    # An access token's end moves with its issue, and unlike last_refresh it is the issuer who wrote it.
    return (login.credential.access_expires_at or NEVER, login.refreshed_at or NEVER)


def _other_seat(login: Login, target: Member | None) -> str:
    """Says who signed in and who was meant; two seats may differ in the workspace alone."""
    came = _named(login.email, login.identity.workspace_id)
    if target is None:
        return f"{came} signed in, and the account that was meant is no longer in the pool. Nothing was changed."
    meant = _named(target.account.email, target.account.identity.workspace_id)
    return f"{came} signed in, but the account to sign in again is {meant}. Nothing was changed."


def _named(email: str, workspace_id: str) -> str:
    return f"{email or 'Somebody without an e-mail'} of workspace {workspace_id or '(none)'}"


async def _save(unit: UnitOfWork, action: ImportAction, account: Account, sealed: SealedCredential) -> None:
    if action is ImportAction.CREATE:
        await unit.accounts.add(account, sealed)
    elif not await unit.accounts.replace_credential(account, sealed):
        raise StoreConflictError("Somebody else stored a newer login meanwhile. Import again.")
