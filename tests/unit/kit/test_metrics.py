"""Metrics under our names, in a registry of their own."""

from __future__ import annotations

import httpx
import prometheus_client
import pytest

from codex_lb.kit.metrics import COUNT_BUCKETS, LATENCY_BUCKETS_S, SIZE_BUCKETS_BYTES, MetricsRegistry, metrics_app


async def test_the_page_shows_metrics_under_our_prefix() -> None:
    registry = MetricsRegistry()
    registry.counter("turns", "Turns ended.", ["outcome"]).labels("completed").inc()
    registry.gauge("leases", "Leases held.").set(3)
    registry.histogram("turn_seconds", "How long turns take.").observe(2000)

    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(metrics_app(registry)), base_url="http://test"
    ) as client:
        page = await client.get("/metrics")

    assert page.headers["content-type"].startswith("text/plain")
    assert 'codex_lb_turns_total{outcome="completed"} 1.0' in page.text
    assert "codex_lb_leases 3.0" in page.text
    assert 'codex_lb_turn_seconds_bucket{le="3600.0"} 1.0' in page.text
    assert "process_resident_memory_bytes" in page.text


def test_two_registries_do_not_know_each_other_nor_the_global_one() -> None:
    for registry in (MetricsRegistry(), MetricsRegistry()):
        registry.counter("turns", "Turns ended.")

    assert b"codex_lb_turns" not in prometheus_client.generate_latest()


def test_a_name_can_be_given_once() -> None:
    registry = MetricsRegistry()
    registry.counter("turns", "Turns ended.")

    with pytest.raises(ValueError, match="Duplicated"):
        registry.counter("turns", "Turns ended.")


@pytest.mark.parametrize("buckets", [LATENCY_BUCKETS_S, SIZE_BUCKETS_BYTES, COUNT_BUCKETS])
def test_buckets_ascend(buckets: tuple[float, ...]) -> None:
    assert list(buckets) == sorted(set(buckets))


def test_latencies_are_told_apart_up_to_an_hour() -> None:
    assert LATENCY_BUCKETS_S[-1] == 3600
