"""What the commands below `codex-lb admin` do."""

from __future__ import annotations

import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message
from rich.text import Text

from codex_lb.allinone.admin.client import (
    IMPORT_BYTES_MAX,
    IMPORT_WITHIN_S,
    PROBE_WITHIN_S,
    Address,
    Admin,
    local,
    open_admin,
    remote,
)
from codex_lb.allinone.admin.files import batches, read_files
from codex_lb.allinone.admin.names import id_of, label_of, resolve
from codex_lb.allinone.admin.tables import accounts_table, import_table, status_name, status_view, words
from codex_lb.allinone.admin.where import Where
from codex_lb.allinone.process import run_once
from codex_lb.allinone.settings import AdminSettings
from codex_lb.allinone.terminal import console
from codex_lb.api.admin.v1 import account_service_pb2 as pb
from codex_lb.api.admin.v1.system_service_pb2 import GetStatusRequest
from codex_lb.kit.settings import load

LIFTABLE = (pb.ACCOUNT_STATUS_RATE_LIMITED, pb.ACCOUNT_STATUS_QUOTA_EXCEEDED)


def show_status(where: Where, *, as_json: bool) -> None:
    """`admin status`."""

    async def show(admin: Admin) -> None:
        status = await admin.system.GetStatus(GetStatusRequest())
        if as_json:
            print_json(as_plain(status))
        else:
            console().print(status_view(status, now=datetime.now(UTC)))

    with_admin(where, show)


def list_accounts(where: Where, *, as_json: bool) -> None:
    """`admin accounts list`."""

    async def show(admin: Admin) -> None:
        found = await admin.all_accounts()
        if as_json:
            print_json([as_plain(account) for account in found])
        elif found:
            terminal = console()
            terminal.print(accounts_table(found, now=datetime.now(UTC), columns=terminal.width))
        else:
            console().print(
                "The pool is empty. Import an account: codex-lb admin accounts import ~/.codex/auth.json, or sign one in:"
                " codex-lb admin accounts add"
            )

    with_admin(where, show)


def import_accounts(where: Where, names: Sequence[str], *, is_dry_run: bool, as_json: bool) -> bool:
    """`admin accounts import`; whether every file could be used."""
    files = read_files(names)
    rows: list[pb.ImportRow] = []

    async def send(admin: Admin) -> None:
        for batch in batches(files, bytes_max=IMPORT_BYTES_MAX):
            request = pb.ImportAccountsRequest(files=batch, validate_only=is_dry_run)
            rows.extend((await admin.accounts.ImportAccounts(request, timeout=IMPORT_WITHIN_S)).rows)

    with_admin(where, send)
    if as_json:
        print_json([as_plain(row) for row in rows])
    else:
        console().print(import_table(rows, is_dry_run=is_dry_run))
        if not is_dry_run and any(row.action != pb.IMPORT_ACTION_REJECT for row in rows):
            console().print(Text(_NOW_THE_POOLS, style="dim"))
    return all(row.action != pb.IMPORT_ACTION_REJECT for row in rows)


_NOW_THE_POOLS = (
    "These logins are the pool's now: a refresh token works once, so use the files with no other program."
    " `codex login` makes a new login for that."
)


def pause(where: Where, names: Sequence[str]) -> None:
    """`admin accounts pause`."""
    _for_each(where, names, lambda admin, name: admin.accounts.PauseAccount(pb.PauseAccountRequest(name=name)))


def resume(where: Where, names: Sequence[str]) -> None:
    """`admin accounts resume`."""
    _for_each(where, names, lambda admin, name: admin.accounts.ResumeAccount(pb.ResumeAccountRequest(name=name)))


def reactivate(where: Where, names: Sequence[str] | None) -> None:
    """`admin accounts reactivate`; without names, every account that this helps."""
    _for_each(
        where, names, lambda admin, name: admin.accounts.ReactivateAccount(pb.ReactivateAccountRequest(name=name))
    )


@dataclass(frozen=True, slots=True)
class Change:
    """What `admin accounts set` changes; None: nothing."""

    alias: str | None
    policy: str | None
    priority: int | None
    stop_at: float | None  # 100: its windows may be used up


def update(where: Where, names: Sequence[str], change: Change) -> None:
    """`admin accounts set`."""
    account, paths = pb.Account(), []
    if change.alias is not None:
        account.alias = change.alias
        paths.append("alias")
    if change.policy is not None:
        account.routing_policy = pb.RoutingPolicy.Value(f"ROUTING_POLICY_{change.policy.replace('-', '_').upper()}")
        paths.append("routing_policy")
    if change.priority is not None:
        account.priority = change.priority
        paths.append("priority")
    if change.stop_at is not None:
        if change.stop_at < 100:
            account.stop_percent = change.stop_at
        paths.append("stop_percent")

    async def verb(admin: Admin, name: str) -> pb.Account:
        account.name = name
        return await admin.accounts.UpdateAccount(
            pb.UpdateAccountRequest(account=account, update_mask=FieldMask(paths=paths))
        )

    _for_each(where, names, verb)


def refresh(where: Where, names: Sequence[str], *, rotate_tokens: bool) -> None:
    """`admin accounts refresh`."""
    _for_each(
        where,
        names,
        lambda admin, name: admin.accounts.RefreshAccount(
            pb.RefreshAccountRequest(name=name, rotate_tokens=rotate_tokens)
        ),
    )


def probe(where: Where, names: Sequence[str], *, model: str, as_json: bool) -> bool:
    """`admin accounts probe`; whether every account served."""
    answers: list[pb.ProbeAccountResponse] = []

    async def ask(admin: Admin) -> None:
        known = await admin.all_accounts()
        for account in [resolve(name, known) for name in names]:
            request = pb.ProbeAccountRequest(name=account.name, model=model)
            answer = await admin.accounts.ProbeAccount(request, timeout=PROBE_WITHIN_S)
            answers.append(answer)
            if not as_json:
                now = words(status_name(answer.account.status))
                console().print(
                    Text(f"{label_of(account)}: {answer.summary} Asked {answer.model}; the account is {now}.")
                )

    with_admin(where, ask)
    if as_json:
        print_json([as_plain(answer) for answer in answers])
    return all(answer.outcome == pb.PROBE_OUTCOME_SERVED for answer in answers)


def sync_models(where: Where) -> None:
    """`admin models sync`."""

    async def ask(admin: Admin) -> None:
        plans = (await admin.accounts.SyncModels(pb.SyncModelsRequest())).plans
        console().print(f"Asked for the models of: {', '.join(plans)}." if plans else "No account can list models now.")

    with_admin(where, ask)


def delete(where: Where, names: Sequence[str], *, with_history: bool, is_confirmed: bool) -> None:
    """`admin accounts delete`. Asks first, unless told not to."""

    async def remove(admin: Admin) -> None:
        known = await admin.all_accounts()
        chosen = [resolve(name, known) for name in names]
        if not is_confirmed:
            confirm(chosen, with_history=with_history)
        for account in chosen:
            await admin.accounts.DeleteAccount(pb.DeleteAccountRequest(name=account.name, delete_history=with_history))
            console().print(f"{label_of(account)}: deleted")

    with_admin(where, remove)


def confirm(accounts: Sequence[pb.Account], *, with_history: bool) -> None:
    """Asks on the terminal; ends the command when the answer is no, or when there is nobody to ask."""
    named = ", ".join(f"{label_of(account)} ({id_of(account)})" for account in accounts)
    history = " with all its history" if with_history else ""
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"Would delete {named}{history}. Nobody can be asked here: say --yes.")
    typer.confirm(f"Delete {named}{history}? Its login is lost for good.", abort=True)


def as_plain(message: Message) -> dict[str, object]:
    """The message in protobuf's JSON form, which is the admin API's."""
    return MessageToDict(message, always_print_fields_with_no_presence=True)


def print_json(value: object) -> None:
    """JSON for scripts: indented, never coloured when piped."""
    console().print_json(data=value)


def _for_each(where: Where, names: Sequence[str] | None, verb: Callable[[Admin, str], Awaitable[pb.Account]]) -> None:
    """Does one thing to each account and says how it stands then."""

    async def do(admin: Admin) -> None:
        known = await admin.all_accounts()
        if names is None:
            chosen = [account for account in known if account.status in LIFTABLE]
        else:
            chosen = [resolve(name, known) for name in names]
        for account in chosen:
            after = await verb(admin, account.name)
            console().print(f"{label_of(after)}: {words(status_name(after.status))}")
        if not chosen:
            console().print("Nothing to do: no account is refused by upstream.")

    with_admin(where, do)


def with_admin(where: Where, work: Callable[[Admin], Awaitable[None]]) -> None:
    """Does the work with a connection to control; what control says against it is the command's end."""

    async def connected() -> None:
        async with open_admin(_address(where)) as admin:
            await work(admin)

    run_once(connected)


def _address(where: Where) -> Address:
    """Options outrank the environment, and a folder named as an option outranks a server named there."""
    settings = load(AdminSettings)
    server = where.server or (settings.server if where.data_dir is None else None)
    if server is None:
        return local((where.data_dir or settings.data_dir).expanduser().absolute())
    token = where.token or (settings.service_token.get_secret_value() if settings.service_token else None)
    return remote(server, token, where.tls_ca or settings.control_tls_ca_file)
