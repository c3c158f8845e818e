"""The accounts as control sees them now: loaded once from the store, changed by evidence and by operators.

Granting a lease reads nothing but this and the lease table, so a turn costs no SQL and is served while the database is
away.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime

from codex_lb.control.domain.account import Account, AccountStatus
from codex_lb.control.domain.catalog import Catalog
from codex_lb.control.domain.evidence import Evidence, Record, Standing, is_nothing_new, record_of, standing
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.usecases.ports import Store
from codex_lb.control.usecases.vault_ports import Sealed, SealedCredential, Vault


@dataclass(slots=True)
class Member:
    """An account with what is known of it."""

    account: Account
    sealed: SealedCredential
    record: Record
    access_token: str = ""  # opened on first use; the vault's work is not repeated for every turn
    known_standing: Standing | None = None

    def standing_at(self, now: datetime) -> Standing:
        """Where the account stands; worked out anew only when evidence came or a deadline passed."""
        known = self.known_standing
        if known is None or (known.until is not None and known.until <= now):
            known = standing(self.record, generation=self.account.generation, now=now)
            self.known_standing = known
        return known

    def observe(self, evidence: Evidence) -> bool:
        """Takes one more observation in; False when nothing that is decided can be another for it."""
        before, self.record = self.record, self.record.joined(evidence)
        known = self.known_standing
        if known is not None and is_nothing_new(evidence, before, known):
            return False
        self.known_standing = None
        return True


class Pool:
    """All members by id, in the order in which they were added."""

    def __init__(self, vault: Vault) -> None:
        self._vault = vault
        self._members: dict[AccountId, Member] = {}
        self._catalog = Catalog()
        self._listeners: list[Callable[[AccountId], None]] = []
        self._tellers: list[Callable[[AccountId, Evidence | None], None]] = []
        self.rows_changed = 0  # accounts stored or removed here: whoever read rows meanwhile has read old ones
        self.changing = asyncio.Lock()  # held from reading an account's row to writing it, so that no change is lost

    @property
    def catalog(self) -> Catalog:
        """What the plans of the pool offer."""
        return self._catalog

    @catalog.setter
    def catalog(self, catalog: Catalog) -> None:
        self._catalog = catalog
        for account_id in self._members:
            self._changed(account_id)

    def on_change(self, listener: Callable[[AccountId], None]) -> None:
        """Tells a listener of every account that is added, changed or removed from now on."""
        self._listeners.append(listener)

    def on_own_change(self, teller: Callable[[AccountId, Evidence | None], None]) -> None:
        """Whoever tells other controls: of evidence that came in here, and (None) of accounts that were stored here."""
        self._tellers.append(teller)

    def _tell(self, account_id: AccountId, evidence: Evidence | None = None) -> None:
        self.rows_changed += evidence is None
        for tell in self._tellers:
            tell(account_id, evidence)

    def _changed(self, account_id: AccountId) -> None:
        for listener in self._listeners:
            listener(account_id)

    async def load(self, store: Store) -> None:
        """Reads accounts and the newest evidence about them."""
        async with store.begin(writing=False) as unit:
            evidence = await unit.accounts.newest_evidence()
            for account, sealed in await unit.accounts.all():
                record = record_of(evidence.get(account.account_id, ()))
                self._members[account.account_id] = Member(account, sealed, record)

    def put(self, account: Account, sealed: SealedCredential) -> Member:
        """Adds an account, or gives a known one its new row and login."""
        member = self.take_over(account, sealed)
        self._tell(account.account_id)
        return member

    def take_over(self, account: Account, sealed: SealedCredential) -> Member:
        """The same, when another control stored it."""
        member = self._members.get(account.account_id)
        if member is None:
            member = Member(account, sealed, Record())
            self._members[account.account_id] = member
        else:
            member.account, member.sealed = account, sealed
            member.access_token, member.known_standing = "", None
        self._changed(account.account_id)
        return member

    def update(self, account: Account) -> None:
        """Takes over what an operator decided about an account."""
        self._members[account.account_id].account = account
        self._changed(account.account_id)
        self._tell(account.account_id)

    def resealed(self, account_id: AccountId, before: Sealed, after: Sealed) -> None:
        """The login of an account is the same, sealed with another key; nothing happens when it has a newer one."""
        member = self._members.get(account_id)
        if member is not None and member.sealed.ciphertext == before.ciphertext:
            member.sealed = replace(member.sealed, key_id=after.key_id, ciphertext=after.ciphertext)
            self._tell(account_id)

    def remove(self, account_id: AccountId) -> None:
        """Forgets an account."""
        self.drop(account_id)
        self._tell(account_id)

    def drop(self, account_id: AccountId) -> None:
        """The same, when another control removed it."""
        if self._members.pop(account_id, None) is not None:
            self._changed(account_id)

    def get(self, account_id: AccountId) -> Member | None:
        """The member of that id, if there is one."""
        return self._members.get(account_id)

    def members(self) -> Sequence[Member]:
        """Everybody, oldest first."""
        return list(self._members.values())

    def observe(self, account_id: AccountId, evidence: Evidence) -> bool:
        """Takes an observation in; False when the account is gone."""
        is_known = self.learn(account_id, evidence)
        if is_known:
            self._tell(account_id, evidence)
        return is_known

    def learn(self, account_id: AccountId, evidence: Evidence) -> bool:
        """The same, when another control observed it."""
        member = self._members.get(account_id)
        if member is None:
            return False
        if member.observe(evidence):
            self._changed(account_id)
        return True

    def note_plan(self, account_id: AccountId, plan: str, *, now: datetime) -> Account | None:
        """Takes over a plan that upstream named; the changed account, or None when nothing changed."""
        member = self._members.get(account_id)
        if member is None or not plan or member.account.plan == plan:
            return None
        member.account = replace(member.account, plan=plan, updated_at=now)
        self._changed(account_id)
        self._tell(account_id)
        return member.account

    def access_token(self, member: Member) -> str:
        """The bearer token. Raises CredentialUnreadableError when the vault cannot open it."""
        if not member.access_token:
            member.access_token = self._vault.open(member.sealed).access_token
        return member.access_token

    def count_by_status(self, now: datetime) -> dict[AccountStatus, int]:
        """How many accounts stand where."""
        counts = dict.fromkeys(AccountStatus, 0)
        for member in self._members.values():
            counts[member.standing_at(now).status] += 1
        return counts
