"""Who keeps sending wrong secrets. Guessing one of 2^256 is hopeless; this keeps the attempt cheap and visible."""

from __future__ import annotations

from collections import OrderedDict
from ipaddress import IPv6Address, IPv6Network

from codex_lb.kit.client_ip import Address

PERIOD_S = 60.0
ADDRESSES_MAX = 10_000  # about 2 MB; beyond it the address that was silent longest is forgotten
IPV6_PREFIX = 64  # what one customer has; single addresses are free to choose


class FailedAttempts:
    """Counts wrong secrets by address, in fixed periods that begin with the first one."""

    def __init__(self, *, attempts_max: int) -> None:
        """So many are let pass in a period."""
        self._attempts_max = attempts_max
        self._counts: OrderedDict[object, tuple[float, int]] = OrderedDict()  # when the period began, and how many

    def failed(self, address: Address | None, *, now_s: float) -> float:
        """Another wrong one. Seconds until the address has attempts again; 0 while it had some left."""
        whose = origin_of(address)
        wait_s = self.wait_s(address, now_s=now_s)
        began, count = self._counts.pop(whose, (now_s, 0))
        if now_s - began >= PERIOD_S:
            began, count = now_s, 0
        self._counts[whose] = began, count + 1
        if len(self._counts) > ADDRESSES_MAX:
            self._counts.popitem(last=False)
        return wait_s

    def forgive(self, address: Address | None) -> None:
        """One that was counted was none."""
        whose = origin_of(address)
        began, count = self._counts.get(whose, (0.0, 0))
        if count > 1:
            self._counts[whose] = began, count - 1
        else:
            self._counts.pop(whose, None)

    def wait_s(self, address: Address | None, *, now_s: float) -> float:
        """Seconds until the address has attempts again; 0 while it has some left."""
        began, count = self._counts.get(origin_of(address), (now_s, 0))
        return max(0.0, began + PERIOD_S - now_s) if count >= self._attempts_max else 0.0

    def __len__(self) -> int:
        return len(self._counts)


def origin_of(address: Address | None) -> object:
    """What counts as one place to come from."""
    if isinstance(address, IPv6Address):
        return IPv6Network((int(address), IPV6_PREFIX), strict=False)
    return address
