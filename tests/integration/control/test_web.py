"""The admin API over HTTP: the same methods as over gRPC, for whoever may call them and for nobody else."""

from __future__ import annotations

import importlib
import pkgutil
from base64 import b64decode
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from random import Random

import pytest
from google.protobuf.descriptor import Descriptor, FieldDescriptor, FileDescriptor, MethodDescriptor
from google.rpc.error_details_pb2 import ErrorInfo
from pydantic import SecretStr

import codex_lb.api.admin.v1 as admin_api
from codex_lb.api.admin.v1 import account_service_pb2 as accounts_pb
from codex_lb.api.admin.v1 import options_pb2
from codex_lb.control.admin.permissions import rule_of
from codex_lb.control.app import Control
from codex_lb.control.settings import ControlSettings
from codex_lb.control.web.connect import BODY_BYTES_MAX
from tests.integration.control.peers import Peers
from tests.integration.control.visits import ADMIN, Visits, open_visits, reason_of
from tests.support.clock import FakeClock
from tests.support.logins import auth_file

JSON = {"content-type": "application/json"}
TOKEN = "made-up-service-token"
GET_STATUS, LIST, PAUSE = "SystemService/GetStatus", "AccountService/ListAccounts", "AccountService/PauseAccount"


@pytest.fixture
def settings(tmp_path: Path) -> ControlSettings:
    """With a service token, and a proxy that is trusted."""
    return ControlSettings.model_validate({
        "data_dir": tmp_path,
        "service_token": SecretStr(TOKEN),
        "firewall_trust_proxy_headers": True,
        "firewall_trusted_proxy_cidrs": "10.0.0.1/32",
    })  # fmt: skip


@pytest.fixture
async def visits(control: Control, tmp_path: Path) -> AsyncIterator[Visits]:
    """Control's web face on a socket."""
    async with open_visits(control.web, tmp_path) as visits:
        yield visits


def methods() -> Iterator[MethodDescriptor]:
    """Every method of the admin API, found, not listed: a new one is tested without being named here."""
    for module in pkgutil.iter_modules(admin_api.__path__):
        if module.name.endswith("_pb2"):
            file: FileDescriptor = importlib.import_module(f"{admin_api.__name__}.{module.name}").DESCRIPTOR
            for service in file.services_by_name.values():
                yield from service.methods


METHODS = {f"{method.containing_service.name}/{method.name}": method for method in methods()}


async def test_what_is_done_over_http_is_seen_over_grpc_and_the_other_way(visits: Visits, peers: Peers) -> None:
    [ann] = await peers.import_(auth_file("ann"))
    visitor = await visits.visitor()

    listed = await visitor.call(LIST)
    paused = await visitor.call(PAUSE, {"name": ann.name})

    assert listed.headers["content-type"] == "application/json"
    assert [account["name"] for account in listed.json()["accounts"]] == [ann.name]
    assert (paused.status_code, paused.json()["status"]) == (200, "ACCOUNT_STATUS_PAUSED")
    [seen] = (await peers.accounts.ListAccounts(accounts_pb.ListAccountsRequest())).accounts
    assert seen.status == accounts_pb.ACCOUNT_STATUS_PAUSED


async def test_every_method_is_served_and_refuses_strangers_before_it_reads_what_they_sent(visits: Visits) -> None:
    stranger, here = await visits.from_elsewhere(), await visits.visitor()

    refused = {path: await stranger.client.post(ADMIN + path, content=b"no JSON", headers=JSON) for path in METHODS}
    met = {path: await here.call(path, {"no_such_field": 1}) for path in METHODS}

    assert len(METHODS) > 40
    told = {path: (answer.status_code, reason_of(answer)) for path, answer in refused.items()}
    assert told == dict.fromkeys(METHODS, (401, "SIGN_IN_REQUIRED"))
    assert {path: reason_of(answer) for path, answer in met.items()} == dict.fromkeys(METHODS, "INVALID_ARGUMENT")
    assert [p for p, answer in met.items() if METHODS[p].input_type.name not in answer.json()["message"]] == []


async def test_what_changes_something_is_refused_without_the_header_that_other_sites_cannot_send(
    visits: Visits,
) -> None:
    here = await visits.visitor()

    reasons = {path: reason_of(await here.call(path, {"no_such_field": 1}, csrf="")) for path in METHODS}

    reading = {path for path, method in METHODS.items() if rule_of(method).permission == options_pb2.PERMISSION_READ}
    assert {path for path, reason in reasons.items() if reason == "INVALID_ARGUMENT"} == reading
    assert {path for path, reason in reasons.items() if reason == "FOREIGN_ORIGIN"} == set(METHODS) - reading


@pytest.mark.parametrize(
    ("origin", "is_let_in"),
    [
        ("http://localhost:2455", True),
        ("https://LOCALHOST:2455", True),  # a proxy ended TLS
        ("http://localhost", False),
        ("http://evil.example.test", False),
        ("http://localhost:2455.evil.example.test", False),
        ("null", False),
    ],
)
async def test_a_page_of_another_site_changes_nothing_even_with_the_header(
    visits: Visits, origin: str, is_let_in: bool
) -> None:
    here = await visits.visitor()

    answer = await here.call(PAUSE, {"name": "accounts/nobody"}, origin=origin)

    assert (answer.status_code, reason_of(answer)) == (
        (404, "ACCOUNT_NOT_FOUND") if is_let_in else (403, "FOREIGN_ORIGIN")
    )


async def test_no_other_site_may_read_or_is_told_that_it_may(visits: Visits) -> None:
    here = await visits.visitor()

    preflight = await here.client.options(ADMIN + GET_STATUS, headers={"origin": "http://evil.example.test"})
    plain = await here.client.post(ADMIN + GET_STATUS, content=b"{}", headers={"content-type": "text/plain"})
    answer = await here.call(GET_STATUS, origin="http://evil.example.test")

    assert (preflight.status_code, preflight.headers["allow"]) == (405, "POST")
    assert (plain.status_code, plain.headers["accept-post"]) == (415, "application/json")
    for one in (preflight, plain, answer):
        assert not [name for name in one.headers if name.startswith("access-control-")]


async def test_a_service_token_is_enough_from_anywhere_and_needs_no_header(visits: Visits) -> None:
    program = await visits.from_elsewhere(headers={"authorization": f"bearer {TOKEN}"})

    status = await program.call(GET_STATUS)
    changed = await program.call(PAUSE, {"name": "accounts/nobody"}, csrf="", origin="http://evil.example.test")

    assert status.status_code == 200
    assert reason_of(changed) == "ACCOUNT_NOT_FOUND"


async def test_a_wrong_token_is_refused_also_here_and_guessing_is_slowed_down_by_address(
    visits: Visits, clock: FakeClock
) -> None:
    guess = {"authorization": "Bearer sk-clb-a-key-of-a-client"}
    guesser, other = await visits.from_elsewhere(headers=guess), await visits.from_elsewhere(peer="203.0.113.8")
    here = await visits.visitor(headers=guess)

    answers = [await guesser.call(GET_STATUS) for _ in range(11)]
    right = await guesser.call(GET_STATUS, authorization=f"Bearer {TOKEN}")
    others = await other.call(GET_STATUS, authorization=f"Bearer {TOKEN}")
    local = await here.call(GET_STATUS)
    clock.advance(60)
    later = await guesser.call(GET_STATUS, authorization=f"Bearer {TOKEN}")

    assert [reason_of(answer) for answer in answers] == ["SERVICE_TOKEN_INVALID"] * 10 + ["TOO_MANY_ATTEMPTS"]
    assert (right.status_code, right.headers["retry-after"]) == (429, "60")
    assert [others.status_code, local.status_code, later.status_code] == [200, 401, 200]


@pytest.mark.parametrize(
    "headers",
    [
        {"host": "pool.example.test"},  # another name led here: also what a site does that rebinds its own
        {"x-forwarded-for": "127.0.0.1"},
        {"forwarded": "for=127.0.0.1"},
        {"via": "1.1 somebody"},
        {"x-codex-lb-peer": "203.0.113.7 1.1"},
        {"x-codex-lb-peer": "127.0.0.1 1.0"},  # a proxy that says nothing, as nginx does unless it is told
        {"authorization": "Bearer"},
    ],
)
async def test_nobody_becomes_local_through_a_proxy_or_another_name(visits: Visits, headers: dict[str, str]) -> None:
    visitor = await visits.visitor(headers=headers)

    answer = await visitor.call(GET_STATUS)

    assert answer.status_code == 401


async def test_behind_a_trusted_proxy_a_page_is_known_by_the_name_it_is_visited_under(visits: Visits) -> None:
    behind = {"x-forwarded-for": "203.0.113.7", "x-forwarded-host": "pool.example.test"}
    program = await visits.visitor(
        peer="10.0.0.1", host="control:2457", headers={**behind, "authorization": f"Bearer {TOKEN}"}
    )

    answer = await program.call(PAUSE, {"name": "accounts/nobody"}, origin="https://pool.example.test")

    assert reason_of(answer) == "ACCOUNT_NOT_FOUND"


async def test_a_refusal_carries_its_details_as_connect_encodes_them(visits: Visits) -> None:
    here = await visits.visitor()

    answer = await here.call(PAUSE, {"name": "accounts/nobody"})

    body = answer.json()
    assert (answer.status_code, body["code"], body["message"]) == (
        404,
        "not_found",
        "There is no account 'nobody'.",
    )
    [detail] = body["details"]
    assert detail["type"] == "google.rpc.ErrorInfo"
    packed = b64decode(detail["value"] + "=" * (-len(detail["value"]) % 4))
    assert ErrorInfo.FromString(packed).reason == "ACCOUNT_NOT_FOUND"


async def test_what_the_protocol_does_not_allow_is_refused_in_its_words(visits: Visits) -> None:
    here = await visits.visitor()
    client = here.client

    unknown = await here.call("SystemService/Nothing")
    got = await client.get(ADMIN + GET_STATUS)
    packed = await here.call(GET_STATUS, content_encoding="gzip")
    version = await here.call(GET_STATUS, connect_protocol_version="2")
    timeout = await here.call(GET_STATUS, connect_timeout_ms="soon")
    deep = await client.post(ADMIN + GET_STATUS, content=b"[" * 100_000, headers=JSON)
    large = await client.post(ADMIN + GET_STATUS, content=b" " * (BODY_BYTES_MAX + 1), headers=JSON)

    said = [(one.status_code, one.json()["code"]) for one in (unknown, got, packed, version, timeout, deep, large)]
    assert said == [
        (404, "unimplemented"),
        (405, "unimplemented"),
        (501, "unimplemented"),
        (400, "invalid_argument"),
        (400, "invalid_argument"),
        (400, "invalid_argument"),
        (429, "resource_exhausted"),
    ]


async def test_no_message_however_odd_makes_a_method_fail(visits: Visits) -> None:
    here, chance = await visits.visitor(), Random(20)
    messages = [(path, odd_message(method.input_type, chance)) for path, method in METHODS.items() for _ in range(4)]

    answers = [await here.call(path, message, connect_timeout_ms="500") for path, message in messages]

    failed = [
        (path, message, answer.text)
        for (path, message), answer in zip(messages, answers, strict=True)
        if answer.status_code >= 500 and answer.json()["code"] not in ("deadline_exceeded", "unavailable")
    ]
    assert failed == []


def odd_message(kind: Descriptor, chance: Random, depth: int = 0) -> dict[str, object]:
    """A message of that kind with values that nobody expects."""
    return {
        field.json_name: [odd_value(field, chance, depth)] if field.is_repeated else odd_value(field, chance, depth)
        for field in kind.fields
        if chance.random() < 0.7 and not (field.message_type and field.message_type.GetOptions().map_entry)
    }


def odd_value(field: FieldDescriptor, chance: Random, depth: int) -> object:
    """A value that the field takes, and its method perhaps not."""
    match field.cpp_type:
        case FieldDescriptor.CPPTYPE_BOOL:
            return chance.random() < 0.5
        case FieldDescriptor.CPPTYPE_ENUM:
            return chance.choice([0, 1, 2, 99, -1])
        case FieldDescriptor.CPPTYPE_STRING if field.type == FieldDescriptor.TYPE_BYTES:
            return chance.choice(["", "e30=", "/w=="])
        case FieldDescriptor.CPPTYPE_STRING:
            return chance.choice(
                ["", "\0", "accounts/\0", "apiKeys/x/y", "é" * 5000, "2026", "../..", "9" * 400, "a,b"]
            )
        case FieldDescriptor.CPPTYPE_MESSAGE if field.message_type.full_name == "google.protobuf.Timestamp":
            return chance.choice(["0001-01-01T00:00:00Z", "9999-12-31T23:59:59.999999999Z", "2026-05-04T12:00:00Z"])
        case FieldDescriptor.CPPTYPE_MESSAGE if field.message_type.full_name == "google.protobuf.Duration":
            return chance.choice(["-315576000000s", "315576000000s", "0.000000001s"])
        case FieldDescriptor.CPPTYPE_MESSAGE if field.message_type.full_name == "google.protobuf.FieldMask":
            return chance.choice(["", "displayName", "a.b.c", "limits,limits", "etag"])
        case FieldDescriptor.CPPTYPE_MESSAGE:
            return odd_message(field.message_type, chance, depth + 1) if depth < 3 else {}
        case FieldDescriptor.CPPTYPE_UINT32 | FieldDescriptor.CPPTYPE_UINT64:
            return chance.choice([0, 1, 2**32 - 1])
        case FieldDescriptor.CPPTYPE_DOUBLE | FieldDescriptor.CPPTYPE_FLOAT:
            return chance.choice([0, -1, 1e300 if field.cpp_type == FieldDescriptor.CPPTYPE_DOUBLE else 1e30, "NaN"])
        case _:
            return chance.choice([0, -1, 2**31 - 1, -(2**31)])


async def test_a_caller_who_waits_no_longer_is_told_so(visits: Visits, peers: Peers) -> None:
    [ann] = await peers.import_(auth_file("ann"))
    here = await visits.visitor()

    answer = await here.call("AccountService/ProbeAccount", {"name": ann.name}, connect_timeout_ms="50")

    assert (answer.status_code, answer.json()["code"]) == (504, "deadline_exceeded")


@pytest.mark.parametrize("host", ["[::1", "[", "a b", "x:99999", ":::", "x/api", "x?"])
async def test_a_host_header_that_is_none_changes_nothing_and_learns_nothing(visits: Visits, host: str) -> None:
    visitor = await visits.visitor(headers={"host": host})

    called, lost = await visitor.call(GET_STATUS), await visitor.client.get("/nowhere")

    assert (called.status_code, lost.status_code) == (401, 404)
    assert ".sock" not in called.text + lost.text


async def test_every_answer_tells_browsers_to_keep_it_to_themselves(visits: Visits) -> None:
    here = await visits.visitor()

    answers = [await here.client.get("/"), await here.call(GET_STATUS), await here.client.get("/nowhere")]

    for answer in answers:
        assert answer.headers["cache-control"] == "no-store"
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in answer.headers["content-security-policy"]
