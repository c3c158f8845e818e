"""The admin API's answers as tables."""

from __future__ import annotations

import io
import re
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from rich.console import Console, RenderableType

from codex_lb.allinone.admin.tables import accounts_table, import_table, span, status_view
from codex_lb.api.admin.v1 import account_service_pb2 as pb
from codex_lb.api.admin.v1.system_service_pb2 import AttachedGateway, GetStatusResponse

WINDOWS = ("primary", "secondary")
NOW = datetime(2026, 1, 2, 12, tzinfo=UTC)


def at(offset: timedelta) -> Timestamp:
    instant = Timestamp()
    instant.FromDatetime(NOW + offset)
    return instant


def shown(table: RenderableType, *, columns: int = 200) -> str:
    written = io.StringIO()
    Console(file=written, width=columns).print(table)
    return written.getvalue()


def test_a_limited_account_shows_until_when_and_why_and_how_full_its_windows_are() -> None:
    account = pb.Account(
        name="accounts/acc_1",
        email="ada@example.com",
        plan="plus",
        status=pb.ACCOUNT_STATUS_RATE_LIMITED,
        status_reason="usage_limit_reached",
        status_until=at(timedelta(hours=2)),
        windows=[
            pb.AccountWindow(window="primary", used_percent=100, resets_at=at(timedelta(minutes=35))),
            pb.AccountWindow(window="secondary", used_percent=25, resets_at=at(timedelta(days=3))),
        ],
        usage_observed_at=at(timedelta(seconds=-40)),
        streams_in_use=2,
    )

    text = shown(accounts_table([account], now=NOW, columns=200))

    assert "rate limited in 2 h" in text
    assert "████████ 100 %" in text
    assert "██░░░░░░  25 %" in text
    assert re.search("acc_1 .*usage_limit_reached .*resets in 35 min .*resets in 3 d", text)
    assert "40 s ago" in text


def test_an_account_that_nothing_is_known_of_yet_shows_dashes() -> None:
    account = pb.Account(name="accounts/acc_1", status=pb.ACCOUNT_STATUS_ACTIVE)

    row = shown(accounts_table([account], now=NOW, columns=200)).splitlines()[-2].split()

    assert row == ["acc_1", "?", "active", "–", "–", "0", "never"]


def test_a_table_for_few_columns_fits_them_with_what_decides_who_serves() -> None:
    windows = [pb.AccountWindow(window=name, used_percent=50, resets_at=at(timedelta(hours=9))) for name in WINDOWS]
    account = pb.Account(name="accounts/acc_1", email="somebody@example.com", plan="business", windows=windows)

    text = shown(accounts_table([account], now=NOW, columns=80), columns=80)

    assert "acc_1" not in text
    assert "somebody@example.com" in text
    assert text.count("██░░  50 %") == 2


def test_a_free_plan_shows_its_month_where_others_show_their_week() -> None:
    windows = [pb.AccountWindow(window="monthly", used_percent=12)]

    text = shown(accounts_table([pb.Account(name="accounts/acc_1", windows=windows)], now=NOW, columns=200))

    assert "12 % of a month" in text


def test_an_import_shows_what_was_done_with_each_file() -> None:
    rows = [
        pb.ImportRow(display_name="a.json", action=pb.IMPORT_ACTION_CREATE, account=pb.Account(email="a@example.com")),
        pb.ImportRow(display_name="b.json", action=pb.IMPORT_ACTION_REJECT, problem="tokens is missing"),
    ]

    done, would_be = (shown(import_table(rows, is_dry_run=is_dry_run)) for is_dry_run in (False, True))

    assert done.splitlines()[-2].split()[:3] == ["a.json", "added", "a@example.com"]
    assert "rejected   tokens is missing" in done
    assert "would be added" in would_be


def test_the_status_names_what_is_missing() -> None:
    text = shown(status_view(GetStatusResponse(version="1", started_at=at(timedelta(hours=-3))), now=NOW))

    assert "none yet: codex-lb admin accounts import" in text
    assert "never seen: usage is not fetched" in text
    assert "none attached" in text


def test_the_status_of_a_pool_at_work_names_its_parts() -> None:
    status = GetStatusResponse(
        version="1",
        started_at=at(timedelta(hours=-3)),
        accounts_by_status={"active": 2, "paused": 1},
        gateways=[AttachedGateway(replica_id="gw_1", version="1", leases=4, heard_at=at(timedelta(seconds=-1)))],
        worker_seen_at=at(timedelta(seconds=-2)),
        settlements_waiting=3,
    )

    text = shown(status_view(status, now=NOW))

    assert "2 active, 1 paused" in text
    assert "gw_1  1  4 running, heard 1 s ago" in text
    assert "seen 2 s ago" in text
    assert "3 waiting" in text


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(-5, "0 s"), (0, "0 s"), (59, "59 s"), (130, "2 min"), (5400, "90 min"), (7170, "2 h"), (90_000, "25 h"),
     (200_000, "2 d")],
)  # fmt: skip
def test_a_span_is_told_in_the_unit_that_fits(seconds: float, text: str) -> None:
    assert span(seconds) == text
