"""What carries a token does not show it."""

from __future__ import annotations

from codex_lb.usage_worker.work import Credential, Ticket, TicketKind, TokensRotated


def test_no_repr_shows_a_token() -> None:
    credential = Credential("at-secret", "rt-secret", "acc-1", 3)
    ticket = Ticket("t1", 1, TicketKind.ROTATION, "acc_1", credential, 0.0, 60.0)
    pair = TokensRotated("at-secret", "rt-secret", "id-secret")

    assert "secret" not in repr(ticket) + repr(pair)
    assert "secret" not in f"{credential} {pair}"
