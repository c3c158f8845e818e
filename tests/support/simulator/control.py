"""The control API under /__sim/: accounts, scripts, usage, what was seen, what waits."""

from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import msgspec
from aiohttp import web

from tests.support.simulator.accounts import Account, Accounts
from tests.support.simulator.gate import Gate
from tests.support.simulator.journal import Journal
from tests.support.simulator.lines import Lines
from tests.support.simulator.models import ENTRIES, Catalog
from tests.support.simulator.oauth import Issuer
from tests.support.simulator.record import Credits, Window
from tests.support.simulator.signin import SignIn
from tests.support.simulator.steps import UnreadableStepError

PREFIX: Final = "/__sim"
_WAIT_S_MAX: Final = 60.0

T = TypeVar("T", bound=msgspec.Struct)


class NewAccount(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """An account to make, or to sign in to again."""

    name: str
    plan: str = "plus"
    account_id: str | None = None
    email: str | None = None
    access_ttl_s: float | None = None
    sends_rate_limit_events: bool = False


class Script(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Steps for one account, or for ``*``, and for one kind of request, or for ``*``."""

    account: str
    steps: list[str] = []
    then: str | None = None
    kind: str = "responses"


class SetUsage(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """What is absent stays as it is; a window that is null is no longer reported."""

    account: str
    plan: str | None = None
    primary: Window | msgspec.UnsetType | None = msgspec.UNSET
    secondary: Window | msgspec.UnsetType | None = msgspec.UNSET
    credits: Credits | None = None
    is_enforced: bool | None = None


class SetModels(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Which models an account is offered; each slug, or a whole entry."""

    account: str
    models: list[str | dict[str, Any]]


class Named(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """One account."""

    account: str


class Browser(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Who is at the browser, and what they do there."""

    account: str
    consents: bool = True


class Approve(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """A device's sign-in as this account."""

    account: str
    user_code: str


class Release(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Held streams: of one account or of all, so many or all."""

    account: str | None = None
    streams_max: int | None = None


class Cut(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """The connections of one account, or all."""

    account: str | None = None


class Reset(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Scripts, journal and violations go; with ``accounts`` the accounts and their tokens too."""

    accounts: bool = False


class Keep(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Whether bodies and answers are kept; a load test does without."""

    bytes: bool


class Control:
    """The handlers."""

    def __init__(
        self, accounts: Accounts, issuer: Issuer, journal: Journal, gate: Gate, lines: Lines, sign_in: SignIn
    ) -> None:
        self._accounts = accounts
        self._issuer = issuer
        self._journal = journal
        self._gate = gate
        self._lines = lines
        self._sign_in = sign_in

    def routes(self) -> list[web.RouteDef]:
        """Everything under /__sim/."""
        return [
            web.post(f"{PREFIX}/accounts", _guarded(self.add_account)),
            web.post(f"{PREFIX}/script", _guarded(self.script)),
            web.post(f"{PREFIX}/usage", _guarded(self.usage)),
            web.post(f"{PREFIX}/models", _guarded(self.models)),
            web.post(f"{PREFIX}/expire", _guarded(self.expire)),
            web.post(f"{PREFIX}/revoke", _guarded(self.revoke)),
            web.post(f"{PREFIX}/browser", _guarded(self.browser)),
            web.post(f"{PREFIX}/expire_codes", _guarded(self.expire_codes)),
            web.post(f"{PREFIX}/approve", _guarded(self.approve)),
            web.post(f"{PREFIX}/release", _guarded(self.release)),
            web.post(f"{PREFIX}/cut", _guarded(self.cut)),
            web.post(f"{PREFIX}/reset", _guarded(self.reset)),
            web.post(f"{PREFIX}/keep", _guarded(self.keep)),
            web.get(f"{PREFIX}/log", _guarded(self.log)),
            web.get(f"{PREFIX}/counters", _guarded(self.counters)),
            web.get(f"{PREFIX}/violations", _guarded(self.violations)),
            web.get(f"{PREFIX}/changes", _guarded(self.changes)),
        ]

    async def add_account(self, request: web.Request) -> web.Response:
        """Makes the account unless it is there; answers with a fresh login."""
        wanted = await _read(request, NewAccount)
        account = self._accounts.add(wanted.name, plan=wanted.plan, account_id=wanted.account_id, email=wanted.email)
        account.access_ttl_s = wanted.access_ttl_s or account.access_ttl_s
        account.sends_rate_limit_events = wanted.sends_rate_limit_events
        return _answer(self._issuer.login(account))

    async def script(self, request: web.Request) -> web.Response:
        """What comes next, and then."""
        wanted = await _read(request, Script)
        self._accounts.scripts(wanted.account).put(wanted.kind, wanted.steps, wanted.then)
        return _answer({})

    async def usage(self, request: web.Request) -> web.Response:
        """What an account has used."""
        wanted = await _read(request, SetUsage)
        usage = self._accounts.get(wanted.account).usage
        primary = usage.window("primary") if wanted.primary is msgspec.UNSET else wanted.primary
        secondary = usage.window("secondary") if wanted.secondary is msgspec.UNSET else wanted.secondary
        usage.put(primary, secondary)
        usage.plan = wanted.plan or usage.plan
        usage.credits = wanted.credits or usage.credits
        usage.is_enforced = usage.is_enforced if wanted.is_enforced is None else wanted.is_enforced
        return _answer({})

    async def models(self, request: web.Request) -> web.Response:
        """What an account is offered."""
        wanted = await _read(request, SetModels)
        known = {str(entry["slug"]): entry for entry in ENTRIES}
        entries = [
            {**ENTRIES[0], **known.get(model, {}), "slug": model} if isinstance(model, str) else model
            for model in wanted.models
        ]
        self._accounts.get(wanted.account).catalog = Catalog.of(entries)
        return _answer({})

    async def expire(self, request: web.Request) -> web.Response:
        """Every access token of the account stops working."""
        return _answer({"expired": self._issuer.expire_access(await self._named(request))})

    async def revoke(self, request: web.Request) -> web.Response:
        """Every token of the account stops working."""
        self._issuer.revoke(await self._named(request))
        return _answer({})

    async def browser(self, request: web.Request) -> web.Response:
        """Who is at the browser when the consent page opens."""
        wanted = await _read(request, Browser)
        self._sign_in.next_login = self._accounts.get(wanted.account).name
        self._sign_in.consents = wanted.consents
        return _answer({})

    async def expire_codes(self, request: web.Request) -> web.Response:  # noqa: ARG002
        """Every authorization code that was not exchanged yet stops working."""
        self._issuer.expire_codes()
        return _answer({})

    async def approve(self, request: web.Request) -> web.Response:
        """Somebody signed in as this account types a device's user code."""
        wanted = await _read(request, Approve)
        self._issuer.approve_device(wanted.user_code, self._accounts.get(wanted.account))
        return _answer({})

    async def release(self, request: web.Request) -> web.Response:
        """Lets held streams go on."""
        wanted = await _read(request, Release)
        return _answer({"released": self._gate.release(wanted.account, streams_max=wanted.streams_max)})

    async def cut(self, request: web.Request) -> web.Response:
        """Closes connections in the middle of what they carry."""
        return _answer({"cut": self._lines.cut((await _read(request, Cut)).account)})

    async def reset(self, request: web.Request) -> web.Response:
        """As after a start; streams that run keep running, held ones are released."""
        wanted = await _read(request, Reset)
        self._accounts.clear(forget=wanted.accounts)
        if wanted.accounts:
            self._issuer.clear()
            self._sign_in.next_login = None
            self._sign_in.consents = True
        self._gate.release()
        self._journal.keeps_bytes = True
        self._journal.clear()
        return _answer({})

    async def keep(self, request: web.Request) -> web.Response:
        """Whether bodies and answers are kept from now on."""
        self._journal.keeps_bytes = (await _read(request, Keep)).bytes
        return _answer({})

    async def log(self, request: web.Request) -> web.Response:
        """The rows behind ``since``, of these kinds."""
        kinds = frozenset(request.query.getall("kind", []))
        return _answer(self._journal.rows(since=int(request.query.get("since", "0")), kinds=kinds))

    async def counters(self, request: web.Request) -> web.Response:  # noqa: ARG002
        """All counters."""
        return _answer(self._journal.counters())

    async def violations(self, request: web.Request) -> web.Response:  # noqa: ARG002
        """What a proxy must never do, and did."""
        return _answer(self._journal.violations)

    async def changes(self, request: web.Request) -> web.Response:
        """The counters, as soon as the version is beyond ``after`` or the time is up."""
        within_s = min(float(request.query.get("within_s", "1")), _WAIT_S_MAX)
        await self._journal.wait_for_change(int(request.query.get("after", "-1")), within_s=within_s)
        return _answer(self._journal.counters())

    async def _named(self, request: web.Request) -> Account:
        return self._accounts.get((await _read(request, Named)).account)


def _guarded(
    handler: Callable[[web.Request], Awaitable[web.Response]],
) -> Callable[[web.Request], Awaitable[web.Response]]:
    """Mistakes of a test come back as 400 with their reason."""

    async def handle(request: web.Request) -> web.Response:
        try:
            return await handler(request)
        except (UnreadableStepError, msgspec.ValidationError, msgspec.DecodeError, ValueError) as error:
            return web.Response(status=400, text=str(error))
        except KeyError as error:
            return web.Response(status=400, text=f"nothing is named {error}")

    return handle


async def _read(request: web.Request, wanted: type[T]) -> T:
    return msgspec.json.decode(await request.read() or b"{}", type=wanted)


def _answer(value: object) -> web.Response:
    return web.Response(body=msgspec.json.encode(value), headers={"content-type": "application/json"})
