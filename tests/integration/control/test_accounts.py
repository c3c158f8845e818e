"""An operator's day: import, look, pause, resume, reactivate, delete."""

from __future__ import annotations

from codex_lb.api.admin.v1 import account_service_pb2 as pb
from codex_lb.api.errors.v1 import reasons_pb2
from codex_lb.control.app import Control
from codex_lb.control.domain.evidence import Closed, LoginRejected, RefusalKind, Refused
from codex_lb.control.domain.ids import AccountId
from codex_lb.kit.rpc_errors import RpcFailure
from tests.integration.control.conftest import OpenControl
from tests.integration.control.peers import Peers, open_peers, refused
from tests.support.clock import NOON, FakeClock
from tests.support.logins import auth_file


async def test_imported_accounts_are_listed_and_survive_a_restart(start: OpenControl) -> None:
    async with start() as control, open_peers(control.targets[0]) as peers:
        imported = await peers.import_(auth_file("ann", plan="pro"), auth_file("ben"))

    async with start() as control, open_peers(control.targets[0]) as peers:
        listed = (await peers.accounts.ListAccounts(pb.ListAccountsRequest())).accounts

    assert list(listed) == imported
    assert [(a.email, a.plan, a.status) for a in listed] == [
        ("ann@example.test", "pro", pb.ACCOUNT_STATUS_ACTIVE),
        ("ben@example.test", "plus", pb.ACCOUNT_STATUS_ACTIVE),
    ]


async def test_every_file_gets_its_row(peers: Peers) -> None:
    await peers.import_(auth_file("known"))
    files = {"known.json": auth_file("known", issued=1), "new.json": auth_file("new"), "broken.json": b"{"}

    rows = await _import(peers, files)

    assert [(row.display_name, row.action, row.problem) for row in rows] == [
        ("known.json", pb.IMPORT_ACTION_UPDATE, ""),
        ("new.json", pb.IMPORT_ACTION_CREATE, ""),
        ("broken.json", pb.IMPORT_ACTION_REJECT, "the file is not JSON (line 1, column 2)"),
    ]
    assert (await peers.status()).accounts_by_status["active"] == 2


async def test_trying_an_import_out_changes_nothing(peers: Peers) -> None:
    [known] = await peers.import_(auth_file("known"))

    rows = await _import(peers, {"a": auth_file("known"), "b": auth_file("new")}, validate_only=True)

    assert [(row.action, row.account.name) for row in rows] == [
        (pb.IMPORT_ACTION_UPDATE, known.name),
        (pb.IMPORT_ACTION_CREATE, ""),
    ]
    assert list((await peers.accounts.ListAccounts(pb.ListAccountsRequest())).accounts) == [known]


async def test_of_two_logins_of_one_account_the_newer_is_kept(peers: Peers) -> None:
    rows = await _import(peers, {"newer.json": auth_file("ann", issued=2), "older.json": auth_file("ann", issued=1)})

    assert [row.action for row in rows] == [pb.IMPORT_ACTION_CREATE, pb.IMPORT_ACTION_REJECT]
    assert rows[1].problem == "newer.json holds a login of the same account that is as new or newer"


async def test_a_new_login_brings_an_account_back_that_upstream_had_thrown_out(
    start: OpenControl, clock: FakeClock
) -> None:
    async with start() as control, open_peers(control.targets[0]) as peers:
        [account, closed] = await peers.import_(auth_file("ann"), auth_file("ben"))
        await _record(control, account, LoginRejected(1, "token_expired", NOON))
        await _record(control, closed, Closed(1, "account_deactivated", NOON))

    async with start() as control, open_peers(control.targets[0]) as peers:
        assert [a.status for a in await _list(peers)] == [
            pb.ACCOUNT_STATUS_REAUTH_REQUIRED,
            pb.ACCOUNT_STATUS_DEACTIVATED,
        ]
        clock.advance(60)
        again = await peers.import_(auth_file("ann", issued=1), auth_file("ben", issued=1))

    assert [(a.name, a.status, a.status_reason) for a in again] == [
        (account.name, pb.ACCOUNT_STATUS_ACTIVE, ""),
        (closed.name, pb.ACCOUNT_STATUS_ACTIVE, ""),
    ]
    assert again[0].created_at == account.created_at
    assert again[0].etag != account.etag


async def test_a_paused_account_serves_nobody_until_it_is_resumed(peers: Peers) -> None:
    [account] = await peers.import_(auth_file("ann"))

    paused = await peers.accounts.PauseAccount(pb.PauseAccountRequest(name=account.name))
    async with peers.attach() as gateway:
        refusal = await gateway.refusal()
        resumed = await peers.accounts.ResumeAccount(pb.ResumeAccountRequest(name=account.name))
        granted = await gateway.acquire()

    assert (paused.status, paused.status_reason) == (pb.ACCOUNT_STATUS_PAUSED, "paused")
    assert refusal.message == "No account can serve this now (1 paused)."
    assert resumed.status == pb.ACCOUNT_STATUS_ACTIVE
    assert account.name == f"accounts/{granted.account_id}"


async def test_pausing_twice_is_no_mistake_but_resuming_twice_is(peers: Peers) -> None:
    [account] = await peers.import_(auth_file("ann"))
    for _ in range(2):
        await peers.accounts.PauseAccount(pb.PauseAccountRequest(name=account.name))
    await peers.accounts.ResumeAccount(pb.ResumeAccountRequest(name=account.name))

    failure = await refused(peers.accounts.ResumeAccount(pb.ResumeAccountRequest(name=account.name)))

    assert _told(failure) == (
        reasons_pb2.ERROR_REASON_ACCOUNT_STATE_CONFLICT,
        "The account is not paused, but active.",
    )


async def test_a_pause_and_a_resume_in_the_same_moment_end_as_they_were_said(start: OpenControl) -> None:
    async with start() as control, open_peers(control.targets[0]) as peers:
        [account] = await peers.import_(auth_file("ann"))
        await peers.accounts.PauseAccount(pb.PauseAccountRequest(name=account.name))
        await peers.accounts.ResumeAccount(pb.ResumeAccountRequest(name=account.name))
        await peers.accounts.PauseAccount(pb.PauseAccountRequest(name=account.name))

    async with start() as control, open_peers(control.targets[0]) as peers:
        assert [a.status for a in await _list(peers)] == [pb.ACCOUNT_STATUS_PAUSED]


async def test_reactivating_lifts_a_refusal_and_tells_who_needs_a_new_login(start: OpenControl) -> None:
    async with start() as control, open_peers(control.targets[0]) as peers:
        [limited, rejected] = await peers.import_(auth_file("ann"), auth_file("ben"))
        await _record(control, limited, Refused(RefusalKind.QUOTA, "usage_limit_reached", None, NOON))
        await _record(control, rejected, LoginRejected(1, "token_expired", NOON))

    async with start() as control, open_peers(control.targets[0]) as peers:
        lifted = await peers.accounts.ReactivateAccount(pb.ReactivateAccountRequest(name=limited.name))
        failure = await refused(peers.accounts.ReactivateAccount(pb.ReactivateAccountRequest(name=rejected.name)))

    assert lifted.status == pb.ACCOUNT_STATUS_ACTIVE
    assert failure.reason == reasons_pb2.ERROR_REASON_ACCOUNT_STATE_CONFLICT
    assert "Sign in again" in failure.message


async def test_a_deleted_account_is_gone_and_its_login_can_come_back_as_another(peers: Peers) -> None:
    [account] = await peers.import_(auth_file("ann"))

    await peers.accounts.DeleteAccount(pb.DeleteAccountRequest(name=account.name))
    failure = await refused(peers.accounts.GetAccount(pb.GetAccountRequest(name=account.name)))
    again = await refused(peers.accounts.DeleteAccount(pb.DeleteAccountRequest(name=account.name)))
    [back] = await peers.import_(auth_file("ann"))

    assert failure.reason == again.reason == reasons_pb2.ERROR_REASON_ACCOUNT_NOT_FOUND
    assert back.name != account.name


async def test_pages_follow_one_another_while_accounts_come_and_go(peers: Peers, clock: FakeClock) -> None:
    names = []
    for user in "abcde":
        clock.advance(1)
        [account] = await peers.import_(auth_file(user))
        names.append(account.name)

    first = await peers.accounts.ListAccounts(pb.ListAccountsRequest(page_size=2))
    await peers.accounts.DeleteAccount(pb.DeleteAccountRequest(name=names[1]))
    second = await peers.accounts.ListAccounts(pb.ListAccountsRequest(page_size=2, page_token=first.next_page_token))
    third = await peers.accounts.ListAccounts(pb.ListAccountsRequest(page_size=2, page_token=second.next_page_token))

    assert [[a.name for a in page.accounts] for page in (first, second, third)] == [names[:2], names[2:4], names[4:]]
    assert (first.total_size, second.total_size, third.next_page_token) == (5, 4, "")


async def test_names_and_tokens_that_are_none_are_told_apart_from_accounts_that_are_not_there(peers: Peers) -> None:
    for name in ("", "acc_1", "accounts/", "accounts/a/b", "gateways/g"):
        failure = await refused(peers.accounts.GetAccount(pb.GetAccountRequest(name=name)))
        assert _told(failure) == (
            reasons_pb2.ERROR_REASON_INVALID_ARGUMENT,
            "name must have the form accounts/{account_id}.",
        )

    for token in ("!", "AAAA", "é"):
        failure = await refused(peers.accounts.ListAccounts(pb.ListAccountsRequest(page_token=token)))
        assert failure.reason == reasons_pb2.ERROR_REASON_INVALID_ARGUMENT


async def _import(peers: Peers, files: dict[str, bytes], *, validate_only: bool = False) -> list[pb.ImportRow]:
    request = pb.ImportAccountsRequest(
        files=[pb.AuthFile(display_name=name, content=content) for name, content in files.items()],
        validate_only=validate_only,
    )
    return list((await peers.accounts.ImportAccounts(request)).rows)


async def _list(peers: Peers) -> list[pb.Account]:
    return list((await peers.accounts.ListAccounts(pb.ListAccountsRequest())).accounts)


async def _record(control: Control, account: pb.Account, evidence: LoginRejected | Closed | Refused) -> None:
    """Puts evidence into the log; a control that starts afterwards knows it."""
    async with control.store.begin(writing=True) as unit:
        await unit.accounts.append_evidence([(AccountId(account.name.removeprefix("accounts/")), evidence)])


def _told(failure: RpcFailure) -> tuple[reasons_pb2.ErrorReason.ValueType, str]:
    return failure.reason, failure.message
