"""API keys from the terminal."""

from __future__ import annotations

import re
import sys
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import typer
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.timestamp_pb2 import Timestamp
from rich.text import Text

from codex_lb.allinone.admin.actions import as_plain, print_json, with_admin
from codex_lb.allinone.admin.api_key_tables import LIMIT_UNITS, LIMIT_WINDOWS, key_view, keys_table
from codex_lb.allinone.admin.client import Admin
from codex_lb.allinone.admin.names import resolve, resolve_key
from codex_lb.allinone.admin.where import Where
from codex_lb.allinone.failures import CommandError
from codex_lb.allinone.terminal import console
from codex_lb.api.admin.v1 import api_key_service_pb2 as pb

SPAN = re.compile(r"(\d+)\s*(s|min|h|d|w)")
SPAN_UNITS = {"s": "seconds", "min": "minutes", "h": "hours", "d": "days", "w": "weeks"}
AMOUNT = re.compile(r"\$?(\d+(?:\.\d{1,6})?)\s*([kM]?)")
ANY, ALL, NONE = "any", "all", "none"  # what takes an enforced word, a list of words and all limits away


@dataclass(frozen=True, slots=True)
class Wishes:
    """What the options of create and update ask for; None: nothing is said."""

    display_name: str | None = None
    expires: str | None = None
    models: Sequence[str] | None = None
    enforced_model: str | None = None
    enforced_effort: str | None = None
    enforced_tier: str | None = None
    efforts: Sequence[str] | None = None
    accounts: Sequence[str] | None = None
    streams_max: int | None = None
    limits: Sequence[str] | None = None


def list_keys(where: Where, *, as_json: bool) -> None:
    """`admin api-keys list`."""

    async def show(admin: Admin) -> None:
        found = await admin.all_api_keys()
        if as_json:
            print_json([as_plain(key) for key in found])
        elif found:
            terminal = console()
            terminal.print(keys_table(found, now=datetime.now(UTC), columns=terminal.width))
        else:
            console().print("There are no API keys yet. Make one: codex-lb admin api-keys create NAME")

    with_admin(where, show)


def show_key(where: Where, name: str, *, as_json: bool) -> None:
    """`admin api-keys show`."""

    async def show(admin: Admin) -> None:
        key = resolve_key(name, await admin.all_api_keys())
        if as_json:
            print_json(as_plain(key))
        else:
            console().print(key_view(key, now=datetime.now(UTC)))

    with_admin(where, show)


def create(where: Where, wishes: Wishes, *, as_json: bool) -> None:
    """`admin api-keys create`."""

    async def make(admin: Admin) -> None:
        key, _ = await filled(admin, wishes)
        answer = await admin.api_keys.CreateApiKey(pb.CreateApiKeyRequest(api_key=key))
        if as_json:
            print_json(as_plain(answer))
            return
        console().print(key_view(answer.api_key, now=datetime.now(UTC)))
        show_secret(answer.secret)

    with_admin(where, make)


def update(where: Where, name: str, wishes: Wishes) -> None:
    """`admin api-keys update`."""

    async def change(admin: Admin) -> None:
        known = resolve_key(name, await admin.all_api_keys())
        key, paths = await filled(admin, wishes)
        if not paths:
            raise typer.BadParameter("Nothing to change: say what, for example --model gpt-5.5.")
        key.name, key.etag = known.name, known.etag
        request = pb.UpdateApiKeyRequest(api_key=key, update_mask=FieldMask(paths=paths))
        console().print(key_view(await admin.api_keys.UpdateApiKey(request), now=datetime.now(UTC)))

    with_admin(where, change)


def rotate(where: Where, name: str, *, overlap: str, as_json: bool) -> None:
    """`admin api-keys rotate`."""

    async def turn(admin: Admin) -> None:
        known = resolve_key(name, await admin.all_api_keys())
        request = pb.RotateApiKeyRequest(name=known.name, etag=known.etag)
        request.overlap.FromTimedelta(span_of(overlap))
        answer = await admin.api_keys.RotateApiKey(request)
        if as_json:
            print_json(as_plain(answer))
            return
        if answer.api_key.HasField("previous_key_until"):
            console().print(f"The old key works for another {overlap}.")
        else:
            console().print("The old key works no more.")
        show_secret(answer.secret)

    with_admin(where, turn)


def disable(where: Where, names: Sequence[str]) -> None:
    """`admin api-keys disable`."""
    _for_each(where, names, lambda admin, name: admin.api_keys.DisableApiKey(pb.DisableApiKeyRequest(name=name)))


def enable(where: Where, names: Sequence[str]) -> None:
    """`admin api-keys enable`."""
    _for_each(where, names, lambda admin, name: admin.api_keys.EnableApiKey(pb.EnableApiKeyRequest(name=name)))


def reset(where: Where, names: Sequence[str]) -> None:
    """`admin api-keys reset`."""
    _for_each(where, names, lambda admin, name: admin.api_keys.ResetApiKeyUsage(pb.ResetApiKeyUsageRequest(name=name)))


def delete(where: Where, names: Sequence[str], *, is_confirmed: bool) -> None:
    """`admin api-keys delete`. Asks first, unless told not to."""

    async def remove(admin: Admin) -> None:
        known = await admin.all_api_keys()
        chosen = [resolve_key(name, known) for name in names]
        if not is_confirmed:
            confirm(chosen)
        for key in chosen:
            await admin.api_keys.DeleteApiKey(pb.DeleteApiKeyRequest(name=key.name))
            console().print(f"{key.display_name}: deleted")

    with_admin(where, remove)


def confirm(keys: Sequence[pb.ApiKey]) -> None:
    """Asks on the terminal; ends the command when the answer is no, or when there is nobody to ask."""
    named = ", ".join(f"{key.display_name} ({key.key_prefix}…)" for key in keys)
    if not sys.stdin.isatty():
        raise typer.BadParameter(f"Would delete {named}. Nobody can be asked here: say --yes.")
    typer.confirm(f"Delete {named}? Clients that use it are refused at once; `disable` can be undone.", abort=True)


def show_secret(secret: str) -> None:
    """The key, so that it can be copied whole, and what to know about it."""
    terminal = console()
    terminal.print(Text(f"\n  {secret}\n", style="bold green"), soft_wrap=True)
    terminal.print(
        Text(
            "This is the only time it is shown. Clients send it as their API key (Authorization: Bearer …).",
            style="dim",
        )
    )


async def filled(admin: Admin, wishes: Wishes) -> tuple[pb.ApiKey, list[str]]:
    """A key with what is asked for, and the paths of those fields."""
    key = pb.ApiKey()
    paths: list[str] = []
    for path, word in (
        ("display_name", wishes.display_name),
        ("enforced_model", wishes.enforced_model),
        ("enforced_reasoning_effort", wishes.enforced_effort),
        ("enforced_service_tier", wishes.enforced_tier),
    ):
        if word is not None:
            setattr(key, path, "" if word == ANY and path != "display_name" else word)
            paths.append(path)
    for path, words in (("allowed_models", wishes.models), ("allowed_reasoning_efforts", wishes.efforts)):
        if words is not None:
            getattr(key, path).extend(() if list(words) == [ALL] else words)
            paths.append(path)
    if wishes.expires is not None:
        if wishes.expires != "never":
            key.expires_at.CopyFrom(instant_of(wishes.expires, now=datetime.now(UTC)))
        paths.append("expires_at")
    if wishes.accounts is not None:
        if wishes.accounts != [ALL]:
            known = await admin.all_accounts()
            key.account_scope.accounts.extend(resolve(name, known).name for name in wishes.accounts)
        paths.append("account_scope")
    if wishes.streams_max is not None:
        key.streams_max = wishes.streams_max
        paths.append("streams_max")
    if wishes.limits is not None:
        key.limits.extend(limit_of(text) for text in (() if list(wishes.limits) == [NONE] else wishes.limits))
        paths.append("limits")
    return key, paths


def limit_of(text: str) -> pb.Limit:
    """A limit as people write it: `200k tokens/day`, `$5/week`, `100 requests/5h`, `1M output-tokens/month:gpt-5.5`."""
    amount_and_unit, slash, rest = text.strip().partition("/")
    window, _, model = rest.partition(":")
    found = AMOUNT.match(amount_and_unit.strip())
    unit = amount_and_unit.strip()[found.end() :].strip() if found else ""
    if found is not None and amount_and_unit.strip().startswith("$"):
        unit = unit or "usd"
    if not slash or found is None or unit not in LIMIT_UNITS or window.strip() not in LIMIT_WINDOWS:
        raise CommandError(
            f"{text!r} is no limit. Write an amount, a unit ({', '.join(LIMIT_UNITS)}) and a window"
            f" ({', '.join(LIMIT_WINDOWS)}), such as `200k tokens/day`, `$5/week` or `100 requests/5h:gpt-5.5`."
        )
    amount = float(found[1]) * {"": 1, "k": 1_000, "M": 1_000_000}[found[2]]
    number, scale = LIMIT_UNITS[unit]
    return pb.Limit(
        unit=number, window=LIMIT_WINDOWS[window.strip()], model=model.strip(), amount_max=round(amount * scale)
    )


def instant_of(text: str, *, now: datetime) -> Timestamp:
    """`30d` from now, or a date such as 2027-01-31 (then at its end, UTC)."""
    instant = Timestamp()
    if SPAN.fullmatch(text.strip()):
        instant.FromDatetime(now + span_of(text))
        return instant
    try:
        given = datetime.fromisoformat(text.strip())
    except ValueError as error:
        raise CommandError(f"{text!r} is no time. Write a span such as 30d or a date such as 2027-01-31.") from error
    if "T" not in text and " " not in text.strip():
        given += timedelta(days=1)
    instant.FromDatetime(given.astimezone(UTC) if given.tzinfo else given)
    return instant


def span_of(text: str) -> timedelta:
    """`30min`, `24h`, `7d`; `0` for none."""
    if text.strip() == "0":
        return timedelta(0)
    found = SPAN.fullmatch(text.strip())
    if found is None:
        raise CommandError(f"{text!r} is no span of time. Write a number and s, min, h, d or w, such as 24h.")
    return timedelta(**{SPAN_UNITS[found[2]]: int(found[1])})


def _for_each(where: Where, names: Sequence[str], verb: Callable[[Admin, str], Awaitable[pb.ApiKey]]) -> None:
    async def do(admin: Admin) -> None:
        known = await admin.all_api_keys()
        for key in [resolve_key(name, known) for name in names]:
            console().print(key_view(await verb(admin, key.name), now=datetime.now(UTC)))

    with_admin(where, do)
