"""How long links and web sessions work, and which secrets open them."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta

from codex_lb.control.domain.ids import WebSessionId
from codex_lb.control.domain.web_access import (
    LINK_TTL,
    SESSION_IDLE,
    SESSION_MAX,
    SESSIONS_MAX,
    SignInLink,
    Way,
    WebSecret,
    WebSession,
    matching,
    superfluous,
)
from tests.support.clock import NOON

SECRET = WebSecret("made-up secret")
LINK = SignInLink("link_1", Way.LINK, SECRET.digest, NOON, NOON + LINK_TTL)
SESSION = WebSession(WebSessionId("web_1"), SECRET.digest, Way.LINK, NOON, NOON, "127.0.0.1", "a browser")
SECOND = timedelta(seconds=1)


def test_a_link_works_until_it_is_used_or_too_old() -> None:
    assert LINK.works_at(NOON)
    assert LINK.works_at(NOON + LINK_TTL - SECOND)
    assert not LINK.works_at(NOON + LINK_TTL)
    assert not replace(LINK, spent_at=NOON).works_at(NOON)


def test_the_link_of_the_first_visit_does_not_grow_old() -> None:
    assert replace(LINK, expires_at=None).works_at(NOON + timedelta(days=1000))


def test_a_session_ends_when_it_is_not_seen_and_after_its_time_however_often_it_is_seen() -> None:
    busy = replace(SESSION, seen_at=NOON + SESSION_MAX - SECOND)

    assert SESSION.lives_at(NOON + SESSION_IDLE - SECOND)
    assert not SESSION.lives_at(NOON + SESSION_IDLE)
    assert busy.lives_at(NOON + SESSION_MAX - SECOND)
    assert not busy.lives_at(NOON + SESSION_MAX)


def test_a_secret_opens_its_own_link_and_no_other() -> None:
    other = replace(LINK, link_id="link_2", digest=WebSecret("another").digest)

    assert matching([other, LINK], SECRET) == LINK
    assert matching([other], SECRET) is None
    assert matching([], SECRET) is None


def test_of_too_many_sessions_those_that_were_not_seen_longest_make_room() -> None:
    crowd = [replace(SESSION, seen_at=NOON + n * SECOND) for n in range(SESSIONS_MAX)]

    assert superfluous(crowd[1:]) == []
    assert superfluous(reversed(crowd)) == [crowd[0]]


def test_a_secret_shows_itself_nowhere_and_its_word_for_pages_does_not_give_it_away() -> None:
    assert SECRET.text not in repr(SECRET)
    assert SECRET.csrf not in (SECRET.text, SECRET.digest.hex())
    assert SECRET.csrf == WebSecret(SECRET.text).csrf != WebSecret("another").csrf
