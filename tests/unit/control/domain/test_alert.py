"""What is worth an alert, when it is told again, and in which form."""

from __future__ import annotations

import hashlib
import hmac
import json
from dataclasses import replace
from datetime import timedelta

import pytest

from codex_lb.control.domain.account import AccountStatus
from codex_lb.control.domain.alert import (
    QUIET,
    Alert,
    AlertKind,
    Changes,
    Condition,
    KeyUse,
    Recent,
    Seen,
    TargetKind,
    changes,
    conditions,
    retry_after,
)
from codex_lb.control.domain.alert_form import Address, checked_address, post_of
from codex_lb.control.errors import InvalidUpdateError
from tests.support.clock import NOON

WELL = Seen("a", "ann", AccountStatus.ACTIVE, "", None, 80.0)
OUT = replace(WELL, account_id="b", status=AccountStatus.QUOTA_EXCEEDED, until=NOON + timedelta(hours=2))
PAUSED = replace(WELL, account_id="c", status=AccountStatus.PAUSED, percent_left=0.0)
FINE = Recent(100, 10)
LOW = Condition(AlertKind.POOL_LOW, "", "9 % of the pool's quota is left", "text", NOON)


def kinds(*accounts: Seen, recent: Recent = FINE) -> list[AlertKind]:
    """What these are worth."""
    return [condition.kind for condition in conditions(accounts, recent)]


def test_a_pool_that_is_well_is_worth_nothing() -> None:
    assert kinds() == []
    assert kinds(WELL, OUT, PAUSED) == []
    assert kinds(replace(WELL, percent_left=None)) == []
    assert kinds(PAUSED) == []


def test_accounts_that_need_somebody_are_named() -> None:
    lost = replace(WELL, status=AccountStatus.REAUTH_REQUIRED, reason="invalid_grant")
    closed = replace(WELL, account_id="d", status=AccountStatus.DEACTIVATED)

    found = list(conditions([lost, closed], FINE))

    assert [(c.kind, c.subject) for c in found] == [(AlertKind.REAUTH_REQUIRED, "a"), (AlertKind.ACCOUNT_CLOSED, "d")]
    assert "invalid_grant" in found[0].text


def test_a_pool_runs_low_before_it_is_exhausted_and_says_when_it_recovers() -> None:
    little = replace(WELL, percent_left=20.0)

    assert kinds(little, OUT) == [AlertKind.POOL_LOW]
    [exhausted] = conditions([OUT, replace(OUT, account_id="x", until=NOON + timedelta(hours=1)), PAUSED], FINE)
    assert (exhausted.kind, exhausted.recovers_at) == (AlertKind.POOL_EXHAUSTED, NOON + timedelta(hours=1))
    assert "2026" in exhausted.text


@pytest.mark.parametrize(
    ("recent", "is_burst"),
    [(Recent(40, 20), True), (Recent(41, 20), False), (Recent(19, 19), False), (Recent(0, 0), False)],
)
def test_many_failures_at_once_are_a_burst(recent: Recent, is_burst: bool) -> None:
    assert kinds(WELL, recent=recent) == ([AlertKind.ERROR_BURST] if is_burst else [])


def test_a_key_near_its_limit_is_told_of_and_again_when_it_has_reached_it() -> None:
    use = KeyUse("key_1", "team", "lim_1", "cost_usd per week", 79.9, NOON)

    found = [list(conditions([WELL], FINE, [replace(use, percent=p)])) for p in (79.9, 80.0, 99.9, 100.0, 120.0)]

    assert [[condition.kind for condition in one] for one in found] == [
        [],
        [AlertKind.KEY_LIMIT_NEAR],
        [AlertKind.KEY_LIMIT_NEAR],
        [AlertKind.KEY_LIMIT_REACHED],
        [AlertKind.KEY_LIMIT_REACHED],
    ]
    assert found[1][0].title == "API key team has used 80 % of its limit of cost_usd per week"


def test_what_lasts_is_told_once_and_what_is_over_may_be_told_again_after_a_while() -> None:
    lasting = Alert("1", LOW, NOON)

    assert changes([LOW], {}, told={}, now=NOON) == Changes(begun=(LOW,))
    assert changes([LOW], {LOW.key: lasting}, told={}, now=NOON) == Changes()
    assert changes([], {LOW.key: lasting}, told={}, now=NOON) == Changes(ended=(lasting,))
    assert changes([LOW], {}, told={LOW.key: NOON}, now=NOON + QUIET / 2) == Changes()
    assert changes([LOW], {}, told={LOW.key: NOON}, now=NOON + QUIET) == Changes(begun=(LOW,))


def test_tries_are_further_and_further_apart_until_it_is_given_up() -> None:
    waits = [retry_after(tries) for tries in range(1, 9)]

    assert [wait.total_seconds() if wait else None for wait in waits] == [10, 40, 160, 640, 2560, 3600, 3600, None]


def test_a_webhook_is_signed_with_the_instant() -> None:
    post = post_of(Alert("1", LOW, NOON), TargetKind.WEBHOOK, Address("http://x/", secret="s"), now=NOON)

    at = int(NOON.timestamp())
    digest = hmac.new(b"s", f"{at}.".encode() + post.body, hashlib.sha256).hexdigest()
    assert post.headers["x-codex-lb-signature"] == f"t={at},v1={digest}"
    assert json.loads(post.body) == {
        "id": "1",
        "kind": "pool_low",
        "subject": "",
        "title": LOW.title,
        "text": LOW.text,
        "raised_at": NOON.isoformat(),
        "recovers_at": NOON.isoformat(),
    }


@pytest.mark.parametrize(
    ("kind", "members"),
    [
        (TargetKind.SLACK, {"text": f"{LOW.title}\n{LOW.text}"}),
        (TargetKind.DISCORD, {"content": f"{LOW.title}\n{LOW.text}", "allowed_mentions": {"parse": []}}),
        (TargetKind.TELEGRAM, {"chat_id": "7", "text": f"{LOW.title}\n{LOW.text}"}),
    ],
)
def test_chat_services_get_what_they_call_a_message(kind: TargetKind, members: dict[str, object]) -> None:
    post = post_of(Alert("1", LOW, NOON), kind, Address("https://x/", chat_id="7"), now=NOON)

    assert json.loads(post.body) == members


@pytest.mark.parametrize(
    "url",
    [
        "",
        "ftp://host/",
        "file:///etc/passwd",
        "https://",
        "http://user:password@host/",
        "http://169.254.169.254/latest",
        "http://[fe80::1]/",
        "http://host:port/",
        "http://host/a b",
        "http://host/" + "x" * 2000,
    ],
)
def test_an_address_that_cannot_be_meant_is_refused(url: str) -> None:
    with pytest.raises(InvalidUpdateError, match="url"):
        checked_address(TargetKind.WEBHOOK, Address(url))


def test_an_address_is_told_by_its_host_alone() -> None:
    assert (
        checked_address(TargetKind.SLACK, Address("https://hooks.slack.com/services/T/B/secret")) == "hooks.slack.com"
    )
    assert "secret" not in repr(Address("https://hooks.slack.com/secret", secret="secret"))
    with pytest.raises(InvalidUpdateError, match="chat_id"):
        checked_address(TargetKind.TELEGRAM, Address("https://api.telegram.org/bot/sendMessage"))
