"""What turns are counted and timed by, for Prometheus. Touched once per turn, never per event."""

from __future__ import annotations

from functools import cache

from prometheus_client import Histogram

from codex_lb.gateway.leasing.lease import TurnEnd
from codex_lb.kit.metrics import MetricsRegistry


class TurnMetrics:
    """Counters and histograms of one gateway."""

    def __init__(self, registry: MetricsRegistry) -> None:
        labels = ["route", "outcome"]
        self._turns = registry.counter("turns", "Turns that ended, by route and outcome.", labels)
        self._moves = registry.counter("turn_moves", "Times a turn moved to another account.", ["route"])
        self._leased = registry.histogram("turn_lease_seconds", "From the request to its last lease.", ["route"])
        self._output = registry.histogram(
            "turn_first_output_seconds", "From the request to its first output.", ["route"]
        )
        self._total = registry.histogram("turn_seconds", "From the request to the end of its answer.", ["route"])
        # Looking a metric up by its labels costs more than counting; there are as many as routes and outcomes.
        self._counter = cache(self._turns.labels)
        self._histograms = cache(self._labelled)

    def observe(self, end: TurnEnd) -> None:
        """Takes a turn in."""
        route, timings = end.route, end.timings
        outcome = "refused" if end.outcome is None else type(end.outcome).__name__.lower()
        self._counter(route, outcome).inc()
        if end.attempts > 1:
            self._moves.labels(route).inc(end.attempts - 1)
        spans = (timings.leased_s, timings.first_output_s, timings.total_s)
        for histogram, seconds in zip(self._histograms(route), spans, strict=True):
            if seconds is not None:
                histogram.observe(seconds)

    def _labelled(self, route: str) -> tuple[Histogram, Histogram, Histogram]:
        return self._leased.labels(route), self._output.labels(route), self._total.labels(route)
