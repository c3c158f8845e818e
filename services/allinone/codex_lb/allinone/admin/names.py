"""Which account or API key is meant. Pure: people may name it in several ways, as long as it is unique."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from codex_lb.allinone.failures import CommandError
from codex_lb.api.admin.v1.account_service_pb2 import Account
from codex_lb.api.admin.v1.api_key_service_pb2 import ApiKey

COLLECTION = "accounts/"
KEYS = "apiKeys/"


class UnknownAccountError(CommandError):
    """Nothing is called that."""


class UnknownKeyError(CommandError):
    """No API key is called that."""


class AmbiguousKeyError(CommandError):
    """Several API keys are called that."""


class AmbiguousAccountError(CommandError):
    """Several accounts are called that."""


def resolve(given: str, accounts: Sequence[Account]) -> Account:
    """The one account that `given` names. Raises UnknownAccountError or AmbiguousAccountError.

    What stands further left wins: resource name or id, alias, e-mail.
    """
    wanted = given.strip().casefold()
    for named in (_by_id, _by_alias, _by_email):
        found = [account for account in accounts if wanted in named(account)]
        if len(found) == 1:
            return found[0]
        if found:
            ids = ", ".join(f"{id_of(account)} ({account.plan or 'plan unknown'})" for account in found)
            raise AmbiguousAccountError(f"{given} is the name of {len(found)} accounts; name one by its id: {ids}.")
    raise UnknownAccountError(_unknown(given, accounts))


def resolve_key(given: str, keys: Sequence[ApiKey]) -> ApiKey:
    """The one API key that `given` names: by its id, its name, or the first characters of the key itself.

    Raises UnknownKeyError or AmbiguousKeyError.
    """
    wanted = given.strip()
    for matches in (_key_by_id, _key_by_name, _key_by_prefix):
        found = [key for key in keys if matches(key, wanted)]
        if len(found) == 1:
            return found[0]
        if found:
            named = ", ".join(f"{key.name.removeprefix(KEYS)} ({key.key_prefix}…)" for key in found)
            raise AmbiguousKeyError(f"{given} is the name of {len(found)} keys; name one by its id: {named}.")
    if not keys:
        raise UnknownKeyError(f"There is no API key {given}: there are none at all.")
    close = get_close_matches(wanted.casefold(), {key.display_name.casefold(): 0 for key in keys}, n=1)
    hint = f"Did you mean {close[0]}?" if close else "`codex-lb admin api-keys list` shows all there are."
    raise UnknownKeyError(f"There is no API key {given}. {hint}")


def _key_by_id(key: ApiKey, wanted: str) -> bool:
    return wanted in (key.name, key.name.removeprefix(KEYS))


def _key_by_name(key: ApiKey, wanted: str) -> bool:
    return key.display_name.casefold() == wanted.casefold()


def _key_by_prefix(key: ApiKey, wanted: str) -> bool:
    return key.key_prefix == wanted.removesuffix("…")


def id_of(account: Account) -> str:
    """The id in a resource name."""
    return account.name.removeprefix(COLLECTION)


def label_of(account: Account) -> str:
    """What people call it."""
    return account.alias or account.email or id_of(account)


def _by_id(account: Account) -> tuple[str, ...]:
    return (account.name.casefold(), id_of(account).casefold())


def _by_alias(account: Account) -> tuple[str, ...]:
    return (account.alias.casefold(),) if account.alias else ()


def _by_email(account: Account) -> tuple[str, ...]:
    return (account.email.casefold(),) if account.email else ()


def _unknown(given: str, accounts: Sequence[Account]) -> str:
    if not accounts:
        return f"There is no account {given}: the pool is empty."
    known = {name.casefold(): name for a in accounts for name in (id_of(a), a.alias, a.email) if name}
    close = get_close_matches(given.casefold(), known, n=1)
    hint = f"Did you mean {known[close[0]]}?" if close else "`codex-lb admin accounts list` shows all there are."
    return f"There is no account {given}. {hint}"
