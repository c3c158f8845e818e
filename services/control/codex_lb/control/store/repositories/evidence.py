"""The log of evidence within one transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from datetime import datetime

from sqlalchemy import and_, insert, literal, select, union_all

from codex_lb.control.domain.evidence import Evidence, LoginRejected, Record, RefusalKind, Refused, UsageSeen
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.simulation import Sample
from codex_lb.control.domain.window import WindowKind
from codex_lb.control.store.news import Sieve
from codex_lb.control.store.structures import EVIDENCE, FINAL, KINDS, generation_of, key_of, restored, structure
from codex_lb.control.store.tables import accounts, evidence
from codex_lb.control.store.transaction import Transaction
from codex_lb.kit.portions import portions

HEADS_PER_STATEMENT_MAX = 5_000  # SQLite takes 32,766 values in a statement, and planning so many takes its time


class EvidenceLog:
    """Appends what is worth a row, and finds the newest of each kind."""

    def __init__(self, transaction: Transaction, sieve: Sieve) -> None:
        self._transaction = transaction
        self._sieve = sieve
        self._pending: dict[AccountId, Record] = {}

    async def append(self, rows: Sequence[tuple[AccountId, Evidence]]) -> None:
        """Drops evidence of accounts that are gone, and what says nothing new."""
        news = self._sieve.news(rows, self._pending)
        if not news:
            return  # as after most turns
        named = {account_id for account_id, _ in news}
        present = await self._present(named)
        for account_id in named - present:
            del self._pending[account_id]
        stored = [_row_of(account_id, one) for account_id, one in news if account_id in present]
        if stored:
            await self._transaction.run(insert(evidence), stored)

    async def newest(self) -> Mapping[AccountId, Sequence[Evidence]]:
        """The newest row of every kind and key; several if they are of the same moment."""
        newest: dict[AccountId, list[Evidence]] = defaultdict(list)
        heads = [head for head in (await self._transaction.run(_HEADS)).scalars() if head is not None]
        for portion in portions(heads, HEADS_PER_STATEMENT_MAX):
            some = _head.c.evidence_id.in_(portion)
            for row in (await self._transaction.run(_AS_NEW_AS_HEAD.where(some))).mappings():
                newest[AccountId(row["account_id"])].append(restored(row["body"], EVIDENCE[row["kind"]]))
        return newest

    async def usage(self, *, since: datetime, until: datetime, samples_max: int) -> list[Sample]:
        """Windows as they were seen, the oldest first; the newest so many of them."""
        seen = and_(
            evidence.c.kind == KINDS[UsageSeen], evidence.c.observed_at >= since, evidence.c.observed_at < until
        )
        newest = select(evidence.c.account_id, evidence.c.body).where(seen)
        rows = await self._transaction.run(newest.order_by(evidence.c.observed_at.desc()).limit(samples_max))
        found = [(AccountId(row.account_id), restored(row.body, UsageSeen)) for row in rows]
        return [Sample(account_id, one.window, one.observed_at) for account_id, one in reversed(found)]

    def committed(self) -> None:
        """What was appended is stored."""
        self._sieve.remember(self._pending)

    async def _present(self, account_ids: set[AccountId]) -> set[AccountId]:
        # KEY SHARE (PostgreSQL): the accounts found must not be deleted before this transaction's rows refer to them.
        found = await self._transaction.run(
            select(accounts.c.account_id)
            .where(accounts.c.account_id.in_(account_ids))
            .order_by(accounts.c.account_id)
            .with_for_update(read=True, key_share=True)
        )
        return set(found.scalars())


def _row_of(account_id: AccountId, one: Evidence) -> dict[str, object]:
    return {
        "account_id": account_id,
        "kind": KINDS[type(one)],
        "key": key_of(one),
        "generation": generation_of(one),
        "observed_at": one.observed_at,
        "body": structure(one),
    }


# Each kind with its keys: few, so that the newest of each is one step into the index, however long the log is.
_LINES = union_all(
    *(
        select(literal(kind).label("kind"), literal(key).label("key"))
        for kind, keys in {
            **{kind: [""] for kind in EVIDENCE},
            KINDS[UsageSeen]: [window.value for window in WindowKind],
            KINDS[Refused]: [refusal.value for refusal in RefusalKind],
            KINDS[LoginRejected]: ["", FINAL],
        }.items()
        for key in keys
    )
).cte("lines")

_rival = evidence.alias("rival")
_HEADS = select(
    select(_rival.c.evidence_id)
    .where(_rival.c.account_id == accounts.c.account_id, _rival.c.kind == _LINES.c.kind, _rival.c.key == _LINES.c.key)
    .order_by(_rival.c.generation.desc(), _rival.c.observed_at.desc())
    .limit(1)
    .correlate(accounts, _LINES)
    .scalar_subquery()
).select_from(accounts.join(_LINES, literal(value=True)))

# Rows of the same moment as the newest come too: which of them counts is the domain's to say, by their content.
# A statement of its own: asked for both at once, PostgreSQL expects more heads than there are, and reads the whole log.
_head = evidence.alias("head")
_AS_NEW_AS_HEAD = select(evidence.c.account_id, evidence.c.kind, evidence.c.body).join_from(
    _head,
    evidence,
    and_(
        evidence.c.account_id == _head.c.account_id,
        evidence.c.kind == _head.c.kind,
        evidence.c.key == _head.c.key,
        evidence.c.generation == _head.c.generation,
        evidence.c.observed_at == _head.c.observed_at,
    ),
)
