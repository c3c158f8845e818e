"""People sign in with a link that works once, stay in for a while, and are out everywhere when they leave."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import anyio
import pytest
from pydantic import SecretStr

from codex_lb.control.app import Control, open_control
from codex_lb.control.assembly.timing import Timing
from codex_lb.control.domain.web_access import LINK_TTL, LINKS_MAX, SESSION_IDLE, SESSION_MAX
from codex_lb.control.settings import ControlSettings
from codex_lb.control.web.doorman import COOKIE, CSRF
from tests.integration.control.conftest import OpenControl
from tests.integration.control.visits import Visitor, Visits, open_visits, reason_of
from tests.support.clock import FakeClock

GET_STATUS, PAUSE = "SystemService/GetStatus", "AccountService/PauseAccount"
NEW_LINK, SESSIONS = "WebAccessService/CreateSignInLink", "WebAccessService/ListWebSessions"
END = "WebAccessService/DeleteWebSession"
NOBODY = {"name": "accounts/nobody"}


@pytest.fixture
async def visits(control: Control, tmp_path: Path) -> AsyncIterator[Visits]:
    """Control's web face on a socket."""
    async with open_visits(control.web, tmp_path) as visits:
        yield visits


@pytest.fixture
async def ann(visits: Visits, control: Control) -> Visitor:
    """Somebody on another machine, who is signed in."""
    ann = await visits.from_elsewhere(headers={"user-agent": "Ann's browser"})
    await ann.sign_in(first_link(control))
    return ann


def first_link(control: Control) -> str:
    """What the start printed."""
    assert control.sign_in_link is not None
    return control.sign_in_link


async def new_link(visits: Visits) -> str:
    """What somebody on the host gets who asks for a link."""
    here = await visits.visitor()
    url: str = (await here.call(NEW_LINK)).json()["url"]
    return url


async def test_who_opens_the_link_is_in_and_runs_the_pool(visits: Visits, control: Control) -> None:
    ann = await visits.from_elsewhere()

    before = await ann.call(GET_STATUS)
    answer = await ann.sign_in(first_link(control))
    after, changed = await ann.call(GET_STATUS), await ann.call(PAUSE, NOBODY)
    told = (await ann.client.get("/auth/session")).json()

    assert (before.status_code, answer.status_code, after.status_code) == (401, 200, 200)
    assert reason_of(changed) == "ACCOUNT_NOT_FOUND"
    assert (told["visitor"], told["csrf"]) == ("signed_in", ann.csrf)


async def test_a_link_works_once_and_tells_nobody_why_it_does_not(visits: Visits, control: Control) -> None:
    first, second = await visits.from_elsewhere(), await visits.from_elsewhere()

    answers = [
        await first.sign_in(first_link(control)),
        await second.sign_in(first_link(control)),
        await second.sign_in("#token=never-made"),
    ]

    assert [answer.status_code for answer in answers] == [200, 401, 401]
    assert reason_of(answers[1]) == "SIGN_IN_REFUSED"
    assert answers[1].text == answers[2].text
    assert (await second.call(GET_STATUS)).status_code == 401


async def test_of_many_who_open_the_link_at_once_one_is_in(visits: Visits, control: Control) -> None:
    statuses: list[int] = []

    async def open_it(number: int) -> None:
        visitor = await visits.from_elsewhere(peer=f"203.0.113.{number}")
        statuses.append((await visitor.sign_in(first_link(control))).status_code)

    async with anyio.create_task_group() as tasks:
        for number in range(8):
            tasks.start_soon(open_it, number)

    assert sorted(statuses) == [200] + [401] * 7


@pytest.mark.parametrize("origin", ["http://pool.example.test:2455", "https://pool.example.test:2455"])
async def test_the_cookie_is_for_no_script_and_no_other_site_and_secure_where_the_page_is(
    visits: Visits, control: Control, origin: str
) -> None:
    ann = await visits.from_elsewhere()

    answer = await ann.sign_in(first_link(control), origin=origin)

    name, *flags = answer.headers["set-cookie"].split("; ")
    max_age = int(SESSION_MAX.total_seconds())
    assert (name.partition("=")[0], len(name.partition("=")[2])) == (COOKIE, 43)
    assert set(flags) - {"Secure"} == {"HttpOnly", "SameSite=lax", "Path=/", f"Max-Age={max_age}"}
    assert ("Secure" in flags) == origin.startswith("https:")


async def test_a_page_of_another_site_cannot_use_the_cookie(ann: Visitor) -> None:
    answers = {
        "no header": await ann.call(PAUSE, NOBODY, csrf=""),
        "what strangers send": await ann.call(PAUSE, NOBODY, csrf="1"),
        "another session's word": await ann.call(PAUSE, NOBODY, csrf="x" * len(ann.csrf)),
        "another origin": await ann.call(PAUSE, NOBODY, origin="http://evil.example.test"),
    }
    out = await ann.client.post("/auth/sign-out", headers={CSRF: "1"})

    assert {what: reason_of(answer) for what, answer in answers.items()} == dict.fromkeys(answers, "FOREIGN_ORIGIN")
    assert (out.status_code, (await ann.call(GET_STATUS)).status_code) == (403, 200)


async def test_nobody_is_signed_in_by_a_page_of_another_site(visits: Visits, control: Control) -> None:
    visitor = await visits.from_elsewhere()
    token = first_link(control).partition("token=")[2]

    answers = [
        await visitor.client.post("/auth/sign-in", json={"token": token}),
        await visitor.sign_in(first_link(control), origin="http://evil.example.test"),
        await visitor.client.post("/auth/sign-in", data={"token": token}, headers={CSRF: "1"}),
        await visitor.client.get("/auth/sign-in", params={"token": token}),
    ]

    assert [answer.status_code for answer in answers] == [403, 403, 415, 200]
    assert "set-cookie" not in {name for answer in answers for name in answer.headers}
    assert (await visitor.sign_in(first_link(control))).status_code == 200  # nothing of that has used it up


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"[]",
        b'{"token": 1}',
        b'{"token": ""}',
        b'{"token": "\\ud800"}',
        b'{"token": "\xff"}',
        b'{"token": "' + b"x" * 600 + b'"}',
    ],
)
async def test_what_is_no_token_is_refused_and_is_no_guess(visits: Visits, body: bytes) -> None:
    visitor = await visits.from_elsewhere()
    headers = {CSRF: "1", "content-type": "application/json"}

    answers = [await visitor.client.post("/auth/sign-in", content=body, headers=headers) for _ in range(12)]

    assert {(answer.status_code, reason_of(answer)) for answer in answers} == {(400, "INVALID_ARGUMENT")}


async def test_ten_wrong_tries_slow_an_address_down_also_with_the_right_link(
    visits: Visits, control: Control, clock: FakeClock
) -> None:
    guesser, other = await visits.from_elsewhere(), await visits.from_elsewhere(peer="203.0.113.8")

    wrong = [await guesser.sign_in(f"#token=guess-{n}") for n in range(10)]
    right = await guesser.sign_in(first_link(control))
    clock.advance(61)
    later = await guesser.sign_in(first_link(control))
    others = await other.sign_in(await new_link(visits))

    assert {reason_of(answer) for answer in wrong} == {"SIGN_IN_REFUSED"}
    assert (right.status_code, reason_of(right), right.headers["retry-after"]) == (429, "TOO_MANY_ATTEMPTS", "60")
    assert (later.status_code, others.status_code) == (200, 200)


async def test_guesses_that_come_all_at_once_are_slowed_down_too(visits: Visits) -> None:
    guesser = await visits.from_elsewhere()
    reasons: list[str] = []

    async def guess(number: int) -> None:
        reasons.append(reason_of(await guesser.sign_in(f"#token=guess-{number}")))

    async with anyio.create_task_group() as tasks:
        for number in range(40):
            tasks.start_soon(guess, number)

    assert (reasons.count("SIGN_IN_REFUSED"), reasons.count("TOO_MANY_ATTEMPTS")) == (10, 30)


async def test_those_who_sign_in_are_not_slowed_down(visits: Visits) -> None:
    visitor = await visits.from_elsewhere()

    statuses = [(await visitor.sign_in(await new_link(visits))).status_code for _ in range(12)]

    assert set(statuses) == {200}


async def test_who_is_not_seen_for_a_while_is_out(ann: Visitor, clock: FakeClock) -> None:
    statuses = []

    for seconds in (SESSION_IDLE.total_seconds() - 1, SESSION_IDLE.total_seconds() - 1, SESSION_IDLE.total_seconds()):
        clock.advance(seconds)
        statuses.append((await ann.call(GET_STATUS)).status_code)

    assert statuses == [200, 200, 401]


async def test_who_stays_is_out_at_the_end_all_the_same(ann: Visitor, clock: FakeClock) -> None:
    half_a_day = SESSION_IDLE.total_seconds() / 2
    statuses = []

    for _ in range(int(SESSION_MAX.total_seconds() / half_a_day)):
        clock.advance(half_a_day)
        statuses.append((await ann.call(GET_STATUS)).status_code)

    assert statuses == [200] * (len(statuses) - 1) + [401]


async def test_who_signs_out_is_out_also_with_a_copy_of_the_cookie(ann: Visitor) -> None:
    cookie = ann.client.cookies[COOKIE]

    out = await ann.sign_out()
    ann.client.cookies.clear()
    copied = await ann.call(GET_STATUS, cookie=f"{COOKIE}={cookie}")

    assert out.status_code == 200
    assert out.headers["set-cookie"].startswith(f'{COOKIE}=""; ')
    assert copied.status_code == 401


async def test_who_signs_in_again_has_another_session_and_the_old_one_is_over(ann: Visitor, visits: Visits) -> None:
    before = ann.client.cookies[COOKIE]

    await ann.sign_in(await new_link(visits))

    assert ann.client.cookies[COOKIE] != before
    assert len((await ann.call(SESSIONS)).json()["webSessions"]) == 1
    old = await visits.from_elsewhere(headers={"cookie": f"{COOKIE}={before}"})
    assert (await old.call(GET_STATUS)).status_code == 401


async def test_an_operator_sees_who_is_in_and_signs_them_out(ann: Visitor, visits: Visits) -> None:
    here = await visits.visitor()

    [session] = (await here.call(SESSIONS)).json()["webSessions"]
    ended = await here.call(END, {"name": session["name"]})
    again = await here.call(END, {"name": session["name"]})

    assert (session["way"], session["address"]) == ("SIGN_IN_WAY_BOOTSTRAP", "203.0.113.7")
    assert session["userAgent"] == "Ann's browser"
    assert (ended.status_code, reason_of(again)) == (200, "WEB_SESSION_NOT_FOUND")
    assert (await ann.call(GET_STATUS)).status_code == 401


async def test_a_link_that_was_asked_for_is_good_for_minutes(visits: Visits, clock: FakeClock) -> None:
    good, late = await new_link(visits), await new_link(visits)
    visitor = await visits.from_elsewhere()

    clock.advance(LINK_TTL.total_seconds() - 1)
    in_time = await visitor.sign_in(good)
    clock.advance(1)
    too_late = await visitor.sign_in(late)

    assert (in_time.status_code, too_late.status_code) == (200, 401)


async def test_of_many_links_that_nobody_opens_only_the_last_work(visits: Visits, control: Control) -> None:
    links = [await new_link(visits) for _ in range(LINKS_MAX + 1)]
    visitor = await visits.from_elsewhere()

    statuses = [(await visitor.sign_in(link)).status_code for link in (links[0], links[1], links[-1])]

    assert statuses == [401, 200, 200]
    assert (await visitor.sign_in(first_link(control))).status_code == 200


async def test_the_link_of_the_first_visit_stays_until_it_is_used_and_then_the_next_start_has_another(
    start: OpenControl, tmp_path: Path
) -> None:
    async with start() as control:
        first = control.sign_in_link
    async with start() as control:
        again = control.sign_in_link
        async with open_visits(control.web, tmp_path) as visits:
            await (await visits.from_elsewhere()).sign_in(first_link(control))
    async with start() as control, open_visits(control.web, tmp_path) as visits:
        another = control.sign_in_link
        used = await (await visits.from_elsewhere()).sign_in(str(first))

    assert (first == again, first == another) == (True, False)
    assert used.status_code == 401


@pytest.fixture
def fixed(settings: ControlSettings) -> ControlSettings:
    """With the token that the environment fixes."""
    return settings.model_copy(update={"dashboard_bootstrap_token": SecretStr("fixed by the environment")})


async def test_a_token_that_the_environment_fixes_works_once_ever_and_is_never_printed(
    fixed: ControlSettings, clock: FakeClock, tmp_path: Path
) -> None:
    start = partial(open_control, clock=clock, listen=[f"unix:{tmp_path / 'control.sock'}"])
    other = fixed.model_copy(update={"dashboard_bootstrap_token": SecretStr("fixed to something else")})
    statuses = []
    links = []

    for settings, token in [
        (fixed, "fixed%20by%20the%20environment"),
        (fixed, "fixed%20by%20the%20environment"),
        (other, "fixed%20to%20something%20else"),
    ]:
        async with start(settings) as control, open_visits(control.web, tmp_path) as visits:
            links.append(control.sign_in_link)
            statuses.append((await (await visits.from_elsewhere()).sign_in(f"#token={token}")).status_code)

    assert statuses == [200, 401, 200]
    assert [link is None for link in links] == [True, False, True]  # spent, it gives way to one that is made


async def test_a_token_that_is_fixed_takes_the_place_of_the_one_that_was_made_and_goes_with_its_setting(
    settings: ControlSettings, fixed: ControlSettings, clock: FakeClock, tmp_path: Path
) -> None:
    start = partial(open_control, clock=clock, listen=[f"unix:{tmp_path / 'control.sock'}"])

    async with start(settings) as control:
        made = first_link(control)
    async with start(fixed) as control, open_visits(control.web, tmp_path) as visits:
        with_made = await (await visits.from_elsewhere()).sign_in(made)
    async with start(settings) as control, open_visits(control.web, tmp_path) as visits:
        with_fixed = await (await visits.from_elsewhere()).sign_in("#token=fixed%20by%20the%20environment")
        anew = await (await visits.from_elsewhere()).sign_in(first_link(control))

    assert (with_made.status_code, with_fixed.status_code, anew.status_code) == (401, 401, 200)


async def test_what_is_secret_of_a_link_or_session_is_not_in_the_database(
    ann: Visitor, visits: Visits, control: Control, settings: ControlSettings
) -> None:
    secrets = [ann.client.cookies[COOKIE], first_link(control), await new_link(visits)]

    stored = b"".join(file.read_bytes() for file in settings.data_dir.glob("store.db*"))

    assert b"Ann's browser" in stored
    assert [secret for secret in secrets if secret.rpartition("=")[2].encode() in stored] == []


async def test_on_a_machine_of_many_people_nobody_is_in_for_being_there(
    settings: ControlSettings, clock: FakeClock, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"dashboard_local_access": False})
    listen = [f"unix:{tmp_path / 'control.sock'}"]

    async with open_control(settings, clock, listen=listen) as control, open_visits(control.web, tmp_path) as visits:
        here = await visits.visitor()
        before = await here.call(GET_STATUS)
        await here.sign_in(first_link(control))
        after = await here.call(GET_STATUS)

    assert (before.status_code, after.status_code) == (401, 200)


async def test_links_lead_to_where_the_product_is_visited(
    settings: ControlSettings, clock: FakeClock, tmp_path: Path
) -> None:
    settings = settings.model_copy(update={"dashboard_url": "https://pool.example.test/"})
    listen = [f"unix:{tmp_path / 'control.sock'}"]

    async with open_control(settings, clock, listen=listen) as control, open_visits(control.web, tmp_path) as visits:
        behind = await visits.visitor(host="control:2457", headers={"x-forwarded-for": "203.0.113.7"})
        link = first_link(control)
        answer = await behind.sign_in(link, origin="https://pool.example.test")

    assert link.startswith("https://pool.example.test/auth/sign-in#token=")
    assert answer.status_code == 200


async def test_strangers_see_what_this_is_and_nothing_of_the_pool(visits: Visits, ann: Visitor) -> None:
    stranger, here = await visits.from_elsewhere(), await visits.visitor()

    theirs, anns, local = [(await one.client.get("/")).text for one in (stranger, ann, here)]

    assert "codex-lb admin sign-in-link" in theirs
    assert [word for word in ("Accounts ready", "Turns running", "Make a key") if word in theirs] == []
    assert ("Make a key" in anns, f'data-csrf="{ann.csrf}"' in anns) == (True, True)
    assert ("Make a key" in local, 'data-csrf="1"' in local) == (True, True)


@dataclass
class Two:
    """Two controls on one database."""

    controls: list[Control]
    visits: list[Visits]


@pytest.fixture
async def two(postgresql_url: str, tmp_path: Path, clock: FakeClock) -> AsyncIterator[Two]:
    """Started at once."""
    settings = ControlSettings(data_dir=tmp_path, database_url=SecretStr(postgresql_url))
    async with AsyncExitStack() as stack:
        controls = [
            await stack.enter_async_context(
                open_control(
                    settings,
                    clock,
                    listen=[f"unix:{tmp_path / f'{number}.sock'}"],
                    timing=Timing(reannounce_grace_s=0.0),
                )
            )
            for number in range(2)
        ]
        visits = [
            await stack.enter_async_context(open_visits(control.web, tmp_path, name=f"web-{number}.sock"))
            for number, control in enumerate(controls)
        ]
        yield Two(controls, visits)


async def test_several_controls_share_link_and_sessions_and_who_is_out_is_out_at_all_of_them(two: Two) -> None:
    here = await two.visits[0].from_elsewhere()
    await here.sign_in(first_link(two.controls[1]))
    there = await two.visits[1].from_elsewhere(headers={"cookie": f"{COOKIE}={here.client.cookies[COOKIE]}"})

    before = await there.call(GET_STATUS)
    spent = await (await two.visits[1].from_elsewhere()).sign_in(first_link(two.controls[0]))
    await here.sign_out()
    after = await there.call(GET_STATUS)

    assert two.controls[0].sign_in_link == two.controls[1].sign_in_link
    assert (before.status_code, spent.status_code, after.status_code) == (200, 401, 401)
