"""The accounts and everything upstream knows about each: plan, usage, scripts, caches."""

from collections import OrderedDict, deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final

from tests.support.simulator.models import Catalog, catalog_of_plan
from tests.support.simulator.record import Kind
from tests.support.simulator.steps import OK, Step, parse
from tests.support.simulator.tokens import Prefix, PrefixCache
from tests.support.simulator.usage import Usage

ANY: Final = "*"  # any account, or any kind of request
ACCESS_TTL_S: Final = 864_000.0
_RESPONSES_MAX: Final = 10_000  # per account


class Scripts:
    """Steps to play, by kind of request: a queue, then a default."""

    def __init__(self) -> None:
        self._queues: dict[str, deque[str]] = {}
        self._then: dict[str, str] = {}

    def put(self, kind: str, steps: Sequence[str], then: str | None) -> None:
        """Replaces the script of this kind. Raises UnreadableStepError."""
        for step in (*steps, *([then] if then else [])):
            parse(step)
        self._queues[kind] = deque(steps)
        self._then.pop(kind, None)
        if then:
            self._then[kind] = then

    def take(self, kind: Kind) -> str | None:
        """The next step for this kind, then for any kind, then the defaults; None when nothing is scripted."""
        for name in (kind, ANY):
            queue = self._queues.get(name)
            if queue:
                return queue.popleft()
        return self._then.get(kind) or self._then.get(ANY)

    def clear(self) -> None:
        """Back to good answers."""
        self._queues.clear()
        self._then.clear()


@dataclass
class Account:
    """One upstream login."""

    name: str
    account_id: str
    user_id: str
    email: str
    usage: Usage
    catalog: Catalog
    scripts: Scripts = field(default_factory=Scripts)
    cache: PrefixCache = field(default_factory=PrefixCache)
    responses: OrderedDict[str, Prefix] = field(default_factory=OrderedDict)
    access_ttl_s: float = ACCESS_TTL_S
    sends_rate_limit_events: bool = False

    @property
    def plan(self) -> str:
        """The plan's name, as upstream tells it."""
        return self.usage.plan

    def remember(self, response_id: str, prefix: Prefix) -> None:
        """A later request may build on this response."""
        self.responses[response_id] = prefix
        while len(self.responses) > _RESPONSES_MAX:
            self.responses.popitem(last=False)


class Accounts:
    """All accounts by name, and the scripts that hold for any of them."""

    def __init__(self) -> None:
        self._by_name: dict[str, Account] = {}
        self.any_scripts = Scripts()

    def add(self, name: str, *, plan: str = "plus", account_id: str | None = None, email: str | None = None) -> Account:
        """The account of this name; made anew unless it is there."""
        if name not in self._by_name:
            usage = Usage.of_plan(plan)
            self._by_name[name] = Account(
                name=name,
                account_id=account_id or f"acc-{name}",
                user_id=f"user-{name}",
                email=email or f"{name}@example.com",
                usage=usage,
                catalog=catalog_of_plan(usage.plan),
            )
        return self._by_name[name]

    def get(self, name: str) -> Account:
        """Raises KeyError."""
        return self._by_name[name]

    def __iter__(self) -> Iterator[Account]:
        return iter(self._by_name.values())

    def scripts(self, name: str) -> Scripts:
        """Of one account, or of any. Raises KeyError."""
        return self.any_scripts if name == ANY else self.get(name).scripts

    def take_step(self, account: Account | None, kind: Kind) -> str | None:
        """What is scripted for this request: the account's own script before the one for any account."""
        own = account.scripts.take(kind) if account else None
        return own or self.any_scripts.take(kind)

    def clear(self, *, forget: bool) -> None:
        """Drops the scripts, and the accounts too when asked."""
        self.any_scripts.clear()
        for account in self:
            account.scripts.clear()
        if forget:
            self._by_name.clear()


def step_of(text: str | None) -> Step:
    """The step of a script's text."""
    return parse(text) if text else OK
