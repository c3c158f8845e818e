"""Metrics of a process: our names, our buckets, one registry of its own, and the page Prometheus reads."""

from __future__ import annotations

from collections.abc import Sequence

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.exposition import choose_encoder
from prometheus_client.gc_collector import GCCollector
from prometheus_client.platform_collector import PlatformCollector
from prometheus_client.process_collector import ProcessCollector
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

PREFIX = "codex_lb_"

# Seconds. From our own share of a turn (below 1 ms) to the longest turn we allow (1 h).
LATENCY_BUCKETS_S = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 1800.0, 3600.0,
)  # fmt: skip
# Bytes. From a bare request to the largest body we accept.
SIZE_BUCKETS_BYTES = tuple(float(2**exponent) for exponent in range(8, 28, 2))
# Things handled at once: messages coalesced, rows written in a batch.
COUNT_BUCKETS = (1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0)


class MetricsRegistry:
    """Where a process's metrics are made; names are given without the prefix `codex_lb_`.

    A name may be given once: making a metric twice raises ValueError.
    """

    def __init__(self) -> None:
        self.collectors = CollectorRegistry()
        ProcessCollector(registry=self.collectors)
        PlatformCollector(registry=self.collectors)
        GCCollector(registry=self.collectors)

    def counter(self, name: str, description: str, labels: Sequence[str] = ()) -> Counter:
        """Something that only grows; its name ends in `_total` on the page."""
        return Counter(PREFIX + name, description, labels, registry=self.collectors)

    def gauge(self, name: str, description: str, labels: Sequence[str] = ()) -> Gauge:
        """Something that goes up and down."""
        return Gauge(PREFIX + name, description, labels, registry=self.collectors)

    def histogram(
        self, name: str, description: str, labels: Sequence[str] = (), *, buckets: Sequence[float] = LATENCY_BUCKETS_S
    ) -> Histogram:
        """How values spread; seconds unless other buckets are given."""
        return Histogram(PREFIX + name, description, labels, registry=self.collectors, buckets=buckets)


def metrics_app(registry: MetricsRegistry) -> Starlette:
    """Answers GET /metrics."""

    async def metrics(request: Request) -> Response:
        encode, content_type = choose_encoder(request.headers.get("accept", ""))
        return Response(encode(registry.collectors), headers={"content-type": content_type})

    return Starlette(routes=[Route("/metrics", metrics)])
