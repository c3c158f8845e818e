"""What an API key says about the requests that it pays for (data-plane reference 6.2). Pure."""

from __future__ import annotations

from dataclasses import dataclass

from codex_lb.gateway.errors import ForbiddenError

UNSAID = frozenset({"auto", "default"})  # tiers that mean upstream's own


@dataclass(frozen=True, slots=True)
class KeyTerms:
    """What replaces the client's wish, where it is not empty, and which efforts may be wished for."""

    model: str = ""
    effort: str = ""
    service_tier: str = ""
    allowed_efforts: frozenset[str] = frozenset()  # empty for all

    def effort_for(self, asked: str) -> str:
        """The effort that counts; a request that names none leaves it to upstream. Raises ForbiddenError."""
        if asked and self.allowed_efforts and asked not in self.allowed_efforts:
            error = ForbiddenError(f"This API key does not have access to reasoning effort '{asked[:40]}'")
            error.code, error.param = "reasoning_effort_not_allowed", "reasoning.effort"
            raise error
        return self.effort or asked

    def tier_for(self, asked: str) -> str:
        """The tier that counts; empty for upstream's own."""
        if not self.service_tier:
            return asked
        return "" if self.service_tier in UNSAID else self.service_tier


FREE = KeyTerms()  # of a caller without a key
