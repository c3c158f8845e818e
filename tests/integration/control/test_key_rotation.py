"""The encryption key is rotated while turns run: nobody notices, and nothing stays sealed with the old key."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from codex_lb.api.admin.v1 import account_service_pb2 as accounts_pb
from codex_lb.api.admin.v1 import key_service_pb2 as pb
from codex_lb.api.admin.v1 import oauth_service_pb2 as oauth_pb
from codex_lb.api.errors.v1 import reasons_pb2
from codex_lb.control.vault.key_file import load_keys
from tests.integration.control.conftest import OpenControl
from tests.integration.control.peers import Peers, eventually, open_peers, refused
from tests.support.clock import FakeClock
from tests.support.logins import auth_file
from tests.support.pair import Pair, start_pair
from tests.support.turns import codex_turn
from tests.support.upstream import start_upstream

ACCOUNTS, CLIENTS, ROTATIONS = 60, 12, 3
FIRST_LINK = 1  # is sealed as logins are, until somebody uses it
ROTATED_WITHIN_S = 60.0  # behind all the writers of a busy machine


@pytest.fixture
async def pair(tmp_path: Path) -> AsyncIterator[Pair]:
    """Control and gateway; a key is retired as soon as it seals nothing."""
    async with start_upstream() as upstream, start_pair(upstream, tmp_path, key_retired_after_s=0.2) as pair:
        yield pair


async def keys(peers: Peers) -> list[pb.Key]:
    """All there are."""
    return list((await peers.keys.ListKeys(pb.ListKeysRequest())).keys)


async def rotate(peers: Peers) -> None:
    """A new key, and the old one retired."""
    await peers.keys.RotateKeys(pb.RotateKeysRequest())
    await eventually(
        lambda: keys(peers),
        lambda found: all(key.state != pb.KEY_STATE_RETIRING for key in found),
        within_s=ROTATED_WITHIN_S,
    )


def ids_in(file: Path) -> list[str]:
    """The keys of the file."""
    return [key.key_id for key in load_keys(file) or ()]


async def test_no_turn_fails_while_keys_are_rotated_and_no_row_stays_on_an_old_key(pair: Pair) -> None:
    await pair.add(*(f"a{number}" for number in range(ACCOUNTS)))
    is_over = asyncio.Event()
    statuses: list[int] = []

    async def client() -> None:
        for number in itertools.count():
            if is_over.is_set():
                return
            answer = await pair.client.post("/backend-api/codex/responses", json=codex_turn(f"turn {number}"))
            statuses.append(answer.status_code if b"response.completed" in answer.content else 0)

    async def newcomer() -> None:
        for number in itertools.count():
            if is_over.is_set():
                return
            await pair.add(f"late{number}")

    async with open_peers(pair.control.targets[0]) as peers, asyncio.TaskGroup() as tasks:
        for _ in range(CLIENTS):
            tasks.create_task(client())
        tasks.create_task(newcomer())
        for _ in range(ROTATIONS):
            before = len(statuses)
            await rotate(peers)
            await eventually(lambda: keys(peers), lambda _, before=before: len(statuses) > before + CLIENTS)  # type: ignore[misc]
        is_over.set()

    async with open_peers(pair.control.targets[0]) as peers:
        found = await keys(peers)
    accounts = (await pair.admin.ListAccounts(accounts_pb.ListAccountsRequest(page_size=1000))).total_size
    assert set(statuses) == {200}
    assert len(statuses) > CLIENTS * ROTATIONS
    assert [(key.state, key.sealed) for key in found] == [
        (pb.KEY_STATE_PRESENT, accounts + FIRST_LINK),
        *[(pb.KEY_STATE_RETIRED, 0)] * ROTATIONS,
    ]
    assert ids_in(pair.folder / "encryption.key") == [found[0].key_id]


async def test_every_login_still_opens_after_a_rotation_and_a_restart(start: OpenControl, clock: FakeClock) -> None:
    async with start() as control, open_peers(control.targets[0]) as peers:
        accounts = await peers.import_(*(auth_file(f"user{number}") for number in range(5)))
        await peers.keys.RotateKeys(pb.RotateKeysRequest())

    async with start() as control, open_peers(control.targets[0]) as peers:  # goes on where the first one was ended
        await eventually(lambda: keys(peers), lambda found: [key.sealed for key in found] == [5 + FIRST_LINK, 0])
        exported = [
            await peers.sign_ins.ExportAccount(oauth_pb.ExportAccountRequest(name=account.name)) for account in accounts
        ]

    assert [f"rt_user{number}_0".encode() in file.content for number, file in enumerate(exported)] == [True] * 5


async def test_a_rotation_that_is_under_way_refuses_another(peers: Peers) -> None:
    await peers.keys.RotateKeys(pb.RotateKeysRequest())

    failure = await refused(peers.keys.RotateKeys(pb.RotateKeysRequest()))

    assert failure.reason == reasons_pb2.ERROR_REASON_KEY_ROTATION_REFUSED


async def test_a_key_file_that_cannot_be_written_is_told_and_the_key_stays(peers: Peers, tmp_path: Path) -> None:
    [before] = await keys(peers)
    hide(tmp_path / "encryption.key")

    failure = await refused(peers.keys.RotateKeys(pb.RotateKeysRequest()))

    assert failure.reason == reasons_pb2.ERROR_REASON_KEY_ROTATION_REFUSED
    assert "is missing. Put it back from your copy. The key was not rotated." in failure.message
    assert [(key.key_id, key.state) for key in await keys(peers)] == [(before.key_id, pb.KEY_STATE_PRESENT)]


def hide(file: Path) -> None:
    """As a volume that went away does."""
    file.rename(file.with_suffix(".gone"))
