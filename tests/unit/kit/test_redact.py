"""No secret and no forged line gets through to a log."""

from __future__ import annotations

import json
import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.kit.redact import MASK, TEXT_CHARS_MAX, redact_event, redacted, redacted_text

URL_SAFE = string.ascii_letters + string.digits + "-_"
secrets = st.text(URL_SAFE, min_size=24, max_size=64).map(lambda tail: "Q7" + tail)

# Every place where a secret has been seen in a log; {} is the secret.
PLACES = [
    "Authorization: Bearer {}",
    "authorization=Bearer {}",
    "bearer {}",
    "BEARER   {}",
    "eyJ{}.{}.{}",
    "Unauthorized: eyJhbGciOi.eyJ{}.sig",
    "sk-clb-{}",
    "Incorrect API key provided: sk-{}.",
    "sk-proj-{}",
    "rt_{}",
    "rt-{}",
    "%3Drt_{}",
    "\\nsk-{}",
    "https://auth/callback?code=1&access_token={}&state=x",
    "https://auth/callback?refresh_token%3D{}",
    '{{"refresh_token": "{}", "expires_in": 3}}',
    '"{{\\"id_token\\": \\"{}\\"}}"',
    "{{'client_secret': '{}'}}",
    "{{'client_secret': b'{}'}}",
    "[(b'x-api-key', b'{}')]",
    "('proxy-authorization', 'Basic {}')",
    "password={}",
    "PASSWORD = '{}'",
    'password="a \\" {}"',
    "service_token: {}",
    "Settings(service_token={}, port=1)",
    "Cookie: theme=dark; session={}; path=/",
    "Set-Cookie: __Host-clb={}",
    'cookie: a="x"; b={}',
    "postgresql+asyncpg://codex:{}@db/codex",
    "private_key={}",
]
FIELDS = [
    "access_token",
    "refresh_token",
    "id_token",
    "Authorization",
    "set-cookie",
    "password",
    "client_secret",
    "api_key",
]

# What has stood before a secret and could make a pattern look away.
LURES = [
    '"',
    "'",
    "\\",
    "password=",
    "token: ",
    "Bearer ",
    "Bearer",
    "x",
    "eyJ",
    "sk-",
    "rt_",
    "Cookie: ",
    "=",
    ":",
    ", ",
    '{"',
]


@pytest.mark.parametrize("place", PLACES)
@given(secret=secrets, before=st.text(max_size=20), after=st.text(max_size=20))
def test_a_secret_never_survives_whatever_stands_around_it(place: str, secret: str, before: str, after: str) -> None:
    line = f"{before} {place.format(*[secret] * 3)} {after}"

    assert secret not in redacted_text(line)


@pytest.mark.parametrize("place", PLACES)
@given(secret=secrets, before=st.lists(st.sampled_from(LURES), max_size=4).map("".join))
def test_a_secret_never_survives_behind_another_that_was_cut_short(place: str, secret: str, before: str) -> None:
    assert secret not in redacted_text(f"{before} {place.format(*[secret] * 3)}")


@pytest.mark.parametrize("name", FIELDS)
@given(secret=secrets)
def test_a_field_named_like_a_secret_is_masked_however_deep(name: str, secret: str) -> None:
    event = {"event": "x", "request": {"headers": [{name: secret}], "pairs": [(name, secret), (name.encode(), secret)]}}

    assert secret not in json.dumps(redact_event(None, "info", event))


@pytest.mark.parametrize("place", PLACES)
@given(secret=secrets)
def test_a_secret_in_a_traceback_is_masked(place: str, secret: str) -> None:
    line = place.format(*[secret] * 3)
    event = {"event": "failed", "exception": f"Traceback:\n  in f\nValueError: {line}\n"}

    redacted_event = redact_event(None, "error", event)

    assert secret not in redacted_event["exception"]
    assert redacted_event["exception"].startswith("Traceback:\n  in f\nValueError: ")


@given(st.text())
def test_a_message_stays_one_line_of_printable_characters(text: str) -> None:
    line = redacted_text(text)

    assert len(line.splitlines()) <= 1
    assert line.isprintable() or not any(ord(c) < 32 or 127 <= ord(c) < 160 for c in line)
    line.encode()  # raises for what no stream can take


def test_a_forged_line_is_escaped() -> None:
    assert redacted_text("x\n2026-01-01 [info] all is well\x1b[2K\u202e") == (
        "x\\n2026-01-01 [info] all is well\\x1b[2K\\u202e"
    )


def test_an_address_keeps_its_first_letter_and_its_domain() -> None:
    assert redacted_text("login of anna.berg+x@example.com failed") == f"login of a{MASK}@example.com failed"


def test_what_was_masked_can_still_be_recognised() -> None:
    assert redacted_text("key sk-clb-0123456789abcdef of rt_0123456789") == f"key sk-clb-{MASK} of rt_{MASK}"
    assert redacted_text('{"id_token": "eyJhbGciOi", "plan": "pro"}') == f'{{"id_token": {MASK}, "plan": "pro"}}'
    assert redacted_text("postgresql://codex:hunter2@db:5432/x") == f"postgresql://codex:{MASK}@db:5432/x"


@pytest.mark.parametrize(
    "harmless",
    [
        "total_tokens=512 input_tokens: 3",
        "the service token is missing or is not ours",
        "task-queue-of-the-worker started",
        "start_something_else at port-12345678",
        "GET /api/accounts/acc_01hv3k2m9x 200",
        "token_expires_at=2026-01-01T00:00:00Z api_key_id=key_01hv3k2m9x",
        "disk-usage 80%, user@localhost",
    ],
)
def test_what_is_no_secret_stays_readable(harmless: str) -> None:
    assert redacted_text(harmless) == harmless


def test_counts_and_flags_stay_readable_whatever_their_name() -> None:
    assert redacted({"tokens": 5, "has_token": True, "token": None}) == {"tokens": 5, "has_token": True, "token": None}


def test_an_endless_text_is_cut() -> None:
    line = redacted_text("a" * (TEXT_CHARS_MAX + 7))

    assert line.endswith("… (7 more characters)")


def test_a_structure_without_end_is_shown_as_text() -> None:
    endless: dict[str, object] = {}
    endless["again"] = endless

    assert "again" in json.dumps(redacted(endless))
