"""What the figures shall be, and whether they are. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum

from bench import names as n
from bench.measured import Measured

FLOOR, NGINX, LITELLM = "floor", "nginx", "litellm"
MONOLITH, MONOLITH_BY_HTTP = "monolith", "monolith-http"  # Soju06/codex-lb
PEERS = (LITELLM, MONOLITH, MONOLITH_BY_HTTP)
TOOLS = "load + upstream"


class Verdict(StrEnum):
    """How a figure stands."""

    HELD = "held"
    MISSED = "missed"
    NOT_RUN = "not run"


@dataclass(frozen=True, slots=True)
class Target:
    """A bound on what a subject may have, in the figure's unit or in multiples of what another one has.

    The other one has it of the same figure, or of `where`.
    """

    figure: str
    subject: str
    bound: float
    of: str | None = None
    is_least: bool = False  # else the bound is the most
    where: str | None = None

    def reached(self, figures: Mapping[str, Measured]) -> float | None:
        """What is compared with the bound; None when it was not measured."""
        found = figures.get(self.figure)
        if found is None:
            return None
        if self.of is None:
            return found.value(self.subject)
        if self.where is None:
            return found.ratio(self.subject, self.of)
        value, other = found.value(self.subject), figures[self.where].value(self.of) if self.where in figures else None
        return value / other if value is not None and other else None

    def verdict(self, figures: Mapping[str, Measured]) -> Verdict:
        """Whether it holds."""
        reached = self.reached(figures)
        if reached is None:
            return Verdict.NOT_RUN
        is_held = reached >= self.bound if self.is_least else reached <= self.bound
        return Verdict.HELD if is_held else Verdict.MISSED

    def says(self) -> str:
        """The bound in words: `<= 3 x floor`."""
        bound = f"1/{1 / self.bound:.0f}" if self.of in PEERS else f"{self.bound:g}"
        of = f" x {self.of}" if self.of else ""
        return f"{'>=' if self.is_least else '<='} {bound}{of}{f' ({self.where})' if self.where else ''}"


PRODUCT = ("split", "all-in-one")
TARGETS = (
    Target(n.SHORT, "split", 3, of=FLOOR),
    Target(n.SHORT, "gateway", 2, of=FLOOR),
    Target(n.SHORT, "split", 1 / 12, of=LITELLM),
    Target(n.SHORT, "split", 1 / 12, of=MONOLITH_BY_HTTP),
    Target(n.SHORT, "split", 1 / 25, of=MONOLITH),
    Target(n.LONG, "split", 1.5, of=FLOOR),
    *(Target(n.LONG, "split", 1 / 40, of=peer) for peer in (LITELLM, MONOLITH_BY_HTTP)),
    Target(n.CHAT, "split", 25),
    Target(n.FIRST_BYTE_P50, "split", 3),
    Target(n.FIRST_BYTE_P99, "split", 15),
    Target(n.EVENT_P99, "split", 20),
    Target(n.BODY, "split", 1.5, of=FLOOR),
    Target(n.ZSTD, "split", 1.5, of=FLOOR, where=n.BODY),  # ADR 0018
    Target(n.PEAK_BODY, "split", 3),
    Target(n.PEAK_ZSTD, "split", 3),
    Target(n.PEAK_BODIES, "split", 3),
    Target(n.POOLS, "1,000", 1.2, of="10"),
    Target(n.POOLS, "10,000", 1.5, of="10"),
    Target(n.IDLE, "gateway", 80),
    Target(n.IDLE, "all-in-one", 140),
    *(Target(n.PER_STREAM, subject, 40) for subject in PRODUCT),
    *(Target(n.PER_SOCKET, subject, 60) for subject in PRODUCT),
    *(Target(n.SOCKETS_LOST, subject, 0) for subject in PRODUCT),
    *(Target(n.SOCKET_FIRST_EVENT, subject, 100) for subject in PRODUCT),
    *(Target(n.GROWTH, subject, 0.5) for subject in PRODUCT),
    Target(n.START, "all-in-one", 2.5),
    Target(n.GATEWAYS, "2", 1.6, of="1", is_least=True),
    Target(n.SHORT, TOOLS, 0.5, of=FLOOR),  # else it is the bench that is measured
    Target(n.LONG, TOOLS, 0.5, of=FLOOR),
)
