"""ReportService: what was spent, added up."""

from __future__ import annotations

from typing import TypeAlias

import grpc.aio

from codex_lb.api.admin.v1 import report_service_pb2 as pb
from codex_lb.api.admin.v1 import report_service_pb2_grpc
from codex_lb.control.admin.permissions import ruled
from codex_lb.control.admin.request_log import account_name, only
from codex_lb.control.domain.rollup import Sums
from codex_lb.control.rpcs.instants import instant, wire_instant, wire_seconds
from codex_lb.control.usecases.view_reports import GroupBy, Overview, Report, Row, Trend, ViewReports, bounds

SERVICE = pb.DESCRIPTOR.services_by_name["ReportService"]

GROUP_BY = {
    pb.REPORT_GROUP_HOUR: GroupBy.HOUR,
    pb.REPORT_GROUP_DAY: GroupBy.DAY,
    pb.REPORT_GROUP_ACCOUNT: GroupBy.ACCOUNT,
    pb.REPORT_GROUP_API_KEY: GroupBy.API_KEY,
    pb.REPORT_GROUP_MODEL: GroupBy.MODEL,
}

Context: TypeAlias = "grpc.aio.ServicerContext[object, object]"


class ReportRpc(report_service_pb2_grpc.ReportServiceServicer):
    """The face of the reports."""

    def __init__(self, view: ViewReports) -> None:
        self._view = view

    @ruled(SERVICE)
    async def GetOverview(self, request: pb.GetOverviewRequest, _: Context) -> pb.Overview:
        """What was spent lately."""
        return overview(await self._view.overview(days_back=request.days))

    @ruled(SERVICE)
    async def GetReport(self, request: pb.GetReportRequest, _: Context) -> pb.Report:
        """What was spent over a stretch of time."""
        by = GROUP_BY.get(request.group_by, GroupBy.DAY)
        found = await self._view.report(
            only(request.accounts, request.api_key_ids, request.models),
            by,
            since=instant(request, "since"),
            until=instant(request, "until"),
            time_zone=request.time_zone,
        )
        return report(found, by)

    @ruled(SERVICE)
    async def ListTrends(self, request: pb.ListTrendsRequest, _: Context) -> pb.ListTrendsResponse:
        """What everybody spent day by day."""
        by = GROUP_BY.get(request.group_by, GroupBy.DAY)
        since, trends = await self._view.trends(
            only(request.accounts, request.api_key_ids, ()), by, days_back=request.days
        )
        return pb.ListTrendsResponse(since=wire_instant(since), trends=[trend(one, by) for one in trends])


def overview(found: Overview) -> pb.Overview:
    """What was spent lately."""
    since, until = bounds(found.hours)
    return pb.Overview(
        since=wire_instant(since),
        until=wire_instant(until),
        sums=sums(found.sums),
        before=sums(found.before) if found.before is not None else None,
        buckets=[pb.Bucket(starts_at=wire_instant(one.starts_at), sums=sums(one.sums)) for one in found.buckets],
    )


def report(found: Report, by: GroupBy) -> pb.Report:
    """What was spent over a stretch of time."""
    since, until = bounds(found.hours)
    return pb.Report(
        since=wire_instant(since),
        until=wire_instant(until),
        rows=[row(one, by) for one in found.rows],
        total=sums(found.total),
    )


def row(one: Row, by: GroupBy) -> pb.ReportRow:
    """A row."""
    return pb.ReportRow(name=_name(one.name, by), starts_at=wire_instant(one.starts_at), sums=sums(one.sums))


def trend(one: Trend, by: GroupBy) -> pb.Trend:
    """A series."""
    return pb.Trend(name=_name(one.name, by), days=map(sums, one.days), total=sums(one.total))


def sums(value: Sums) -> pb.Sums:
    """What some turns come to."""
    return pb.Sums(
        turns=value.turns,
        failed=value.failed,
        cancelled=value.cancelled,
        input_tokens=value.input_tokens,
        cached_input_tokens=value.cached_input_tokens,
        output_tokens=value.output_tokens,
        reasoning_tokens=value.reasoning_tokens,
        cost_micro_usd=value.cost_micro_usd,
        unpriced_turns=value.unpriced_turns,
        mean_first_output=wire_seconds(_mean_s(value.first_output_ms, value.first_output_turns)),
        mean_total=wire_seconds(_mean_s(value.total_ms, value.turns)),
    )


def _mean_s(all_ms: int, turns: int) -> float | None:
    return all_ms / turns / 1000 if turns > 0 else None


def _name(name: str, by: GroupBy) -> str:
    return account_name(name) if by is GroupBy.ACCOUNT else name
