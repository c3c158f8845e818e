"""`python -m bench.queries --rows 5000000`: how long overview, reports and the log take on a long log, and what 200
streams notice of it meanwhile. On SQLite and on PostgreSQL; the sets are made by SQL and deleted afterwards.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import sqlite3
import tempfile
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from statistics import median

import asyncpg
import uvloop
from google.protobuf.timestamp_pb2 import Timestamp

from bench import subjects
from bench.load import together
from bench.loads import body
from codex_lb.allinone.admin.client import Admin, local, open_admin
from codex_lb.api.admin.v1 import report_service_pb2 as reports
from codex_lb.api.admin.v1 import request_log_service_pb2 as log
from codex_lb.api.control.v1 import leases_pb2
from codex_lb.control.domain.report import Facet
from codex_lb.control.domain.rollup import SUMS
from codex_lb.control.store.migrate import migrate
from tests.support.databases import running_postgresql, sqlite_url_of

DAYS = 60  # so that 30 days have 30 days before them
ACCOUNTS, KEYS, MODELS = 20, 40, 5
STREAMS = 200
EVENTS_APART_MS = 100
ASKED_MAX_S, GAP_MAX_S = 0.3, 0.25  # what must hold
Ask = Callable[[Admin], Awaitable[object]]

# One row per number, spread evenly over the days; what it is follows from the number, as if drawn.
ROWS = """
INSERT INTO turns (turn_id, started_at, outcome, fault_code, fault_blame, fault_status, fault_message, input_tokens,
  cached_input_tokens, output_tokens, reasoning_tokens, total_tokens, cost_micro_usd, cost_source, leased_s, dispatched_s,
  first_byte_s, first_output_s, total_s, lease_id, account_id, attempts, api_key_id, work, route, transport,
  requested_model, model, reasoning_effort, service_tier, actual_service_tier, status, user_agent, client_ip, response_id,
  session_id, request_bytes, response_bytes)
SELECT 'turn_' || i, {instant}, CASE WHEN h % 1000 < 3 THEN 'limited' ELSE 'completed' END,
  CASE WHEN h % 1000 < 3 THEN 'usage_limit_reached' END, CASE WHEN h % 1000 < 3 THEN 'account' END,
  CASE WHEN h % 1000 < 3 THEN 429 END, CASE WHEN h % 1000 < 3 THEN 'The usage limit has been reached' END,
  h % 90000, h % 60000, h % 3000, h % 1000, h % 90000 + h % 3000, h % 400000, 'bench', 0.001, 0.002, 0.4, 0.9, 8.5,
  'lease_' || i, 'acc_' || (h / 7 % {accounts}), 1, 'key_' || (h / 211 % {keys}), 'turn', '/backend-api/codex/responses',
  'sse', 'gpt-' || (h / 9973 % {models}), 'gpt-' || (h / 9973 % {models}), 'medium', '', 'default', 200,
  'codex_exec/0.169.0', '10.0.0.' || (h % 250), 'resp_' || i, 'session_' || (i / 50), 20000, 9000
FROM ({numbers}) AS drawn
"""
NUMBERS = {
    "sqlite": """WITH RECURSIVE n(i) AS (SELECT 0 UNION ALL SELECT i + 1 FROM n WHERE i < {rows} - 1)
      SELECT i, i * 2654435761 % 4294967296 AS h, {since} + i * {length} / {rows} AS at FROM n""",
    "postgresql": """SELECT i, i * 2654435761 % 4294967296 AS h, {since} + i * {length} / {rows} AS at
      FROM generate_series(0::bigint, {rows} - 1) AS i""",
}
INSTANT = {
    "sqlite": "strftime('%Y-%m-%d %H:%M:%S', at, 'unixepoch') || printf('.%06d', i % 1000000)",
    "postgresql": "to_timestamp(at) + (i % 1000000) * interval '1 microsecond'",
}
EPOCH = {
    "sqlite": "CAST(strftime('%s', started_at) AS INTEGER)",
    "postgresql": "CAST(floor(extract(epoch FROM started_at)) AS bigint)",
}
SUMMED = """INSERT INTO {table} ({bucket}, account_id, api_key_id, model, {names})
  SELECT {of}, account_id, api_key_id, model, {sums} FROM {source} GROUP BY {of}, account_id, api_key_id, model
  ORDER BY {of}"""  # as the product writes them
NAMED = """INSERT INTO spent_names (facet, hour, name, {names})
  SELECT '{facet}', hour, {facet}, {sums} FROM spent_hours GROUP BY hour, {facet} ORDER BY hour"""
TOTALLED = "INSERT INTO spent_totals (hour, {names}) SELECT hour, {sums} FROM spent_hours GROUP BY hour"
ADDED = """count(*) AS turns, count(fault_code) AS failed, 0 AS cancelled, sum(input_tokens) AS input_tokens,
  sum(cached_input_tokens) AS cached_input_tokens, sum(output_tokens) AS output_tokens,
  sum(reasoning_tokens) AS reasoning_tokens, sum(cost_micro_usd) AS cost_micro_usd, 0 AS unpriced_turns,
  count(*) AS first_output_turns, count(*) * 900 AS first_output_ms, count(*) * 8500 AS total_ms"""


async def main(rows: int, databases: list[str], *, purging: bool, within_s: float) -> bool:
    """Prints a table per database; whether everything held."""
    held = True
    for database in databases:
        async with made(database, rows) as url:
            held = await measured(database, url, rows, purging=purging, within_s=within_s) and held
    return held


async def measured(database: str, url: str, rows: int, *, purging: bool, within_s: float) -> bool:
    """Asks while streams run."""
    env = {"CODEX_LB_DATABASE_URL": url, "CODEX_LB_REQUEST_LOG_RETENTION_DAYS": "45" if purging else "0"}
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name) / "data"
        async with subjects.start_upstream() as upstream, subjects.all_in_one(upstream.url, folder, env=env) as subject:
            assert subject.system is not None
            async with open_admin(local(subject.system.data_dir)) as admin:
                quiet_s = await longest_gap(subject, within_s=5.0, meanwhile=None)
                took: dict[str, list[float]] = {}
                gap_s = await longest_gap(
                    subject,
                    within_s=within_s,
                    meanwhile=lambda: asked(admin, rows, took, until=time.monotonic() + within_s),
                )
    print(f"\n{database}{', lines being deleted meanwhile' if purging else ''}")
    for question, times in took.items():
        print(
            f"  {question:34} {median(times) * 1e3:7.0f} ms  at most {max(times) * 1e3:7.0f} ms  ({len(times)} times)"
        )
    print(f"  latest event of {STREAMS} streams        {gap_s * 1e3:7.0f} ms; undisturbed {quiet_s * 1e3:.0f} ms")
    return gap_s < GAP_MAX_S and all(max(times) < ASKED_MAX_S for times in took.values())


async def longest_gap(
    subject: subjects.Subject, *, within_s: float, meanwhile: Callable[[], Awaitable[None]] | None
) -> float:
    """How much later than upstream wrote it the latest event of all streams arrived."""
    events = int((within_s + 2.0) * 1000 / EVENTS_APART_MS)
    tasks: list[asyncio.Future[None]] = []
    seen = await together(
        subject.url,
        subject.request(body(1024), f"{events} 200 {EVENTS_APART_MS}"),
        streams=STREAMS,
        within_s=1.0,
        midway=lambda: tasks.append(asyncio.ensure_future(meanwhile())) if meanwhile else None,
    )
    await asyncio.gather(*tasks)
    return max(seen.event_s)


async def asked(admin: Admin, rows: int, took: dict[str, list[float]], *, until: float) -> None:
    """One question after another, all of them at least once."""
    while True:
        for question, ask in questions(rows).items():
            started = time.monotonic()
            await ask(admin)
            took.setdefault(question, []).append(time.monotonic() - started)
        if time.monotonic() > until:
            return


def questions(rows: int) -> dict[str, Ask]:
    """What the dashboard asks, and the worst of what people can."""
    month, ago = _ago(days=30), _ago(days=20)
    group = reports.ReportGroup.Value

    def report(by: str, **only: object) -> Ask:
        by_group = group(f"REPORT_GROUP_{by}")
        wanted = reports.GetReportRequest(group_by=by_group, since=month, **only)  # type: ignore[arg-type]  # fields by name
        return lambda admin: admin.reports.GetReport(wanted)

    def lines(**only: object) -> Ask:
        wanted = log.ListRequestsRequest(page_size=50, **only)  # type: ignore[arg-type]  # fields by name
        return lambda admin: admin.request_log.ListRequests(wanted)

    return {
        "overview, 7 days": lambda a: a.reports.GetOverview(reports.GetOverviewRequest(days=7)),
        "overview, 30 days": lambda a: a.reports.GetOverview(reports.GetOverviewRequest(days=30)),
        "report by hour, 30 days": report("HOUR"),
        "report by day, Berlin": report("DAY", time_zone="Europe/Berlin"),
        "report by account": report("ACCOUNT"),
        "report by key": report("API_KEY"),
        "report by model": report("MODEL"),
        "report by day of one account": report("DAY", accounts=["accounts/acc_3"]),
        "report by day of one key": report("DAY", api_key_ids=["key_7"]),
        "report by model of one key": report("MODEL", api_key_ids=["key_7"]),
        "28 days of every account": lambda a: a.reports.ListTrends(
            reports.ListTrendsRequest(group_by=group("REPORT_GROUP_ACCOUNT"))
        ),
        "28 days of every key": lambda a: a.reports.ListTrends(
            reports.ListTrendsRequest(group_by=group("REPORT_GROUP_API_KEY"))
        ),
        "log, newest": lines(),
        "log, 20 days ago": lines(until=ago),
        "log of an account": lines(accounts=["accounts/acc_3"]),
        "log of a key and a model": lines(api_key_ids=["key_7"], models=["gpt-2"]),
        "log, limited ones": lines(outcomes=[leases_pb2.OUTCOME_LIMITED]),
        "log, of a model nobody used": lines(models=["nothing"]),
        "log, a text nowhere": lines(text="nowhere to be found"),
        "one line": lambda a: a.request_log.GetRequest(log.GetRequestRequest(name=f"requests/turn_{rows - 1}")),
    }


@contextlib.asynccontextmanager
async def made(database: str, rows: int) -> AsyncIterator[str]:
    """A database of that many lines, with their sums; its URL."""
    started = time.monotonic()
    with _empty(database) as url:
        await migrate(url, backup=False, backup_files_max=1, now=datetime.now(UTC))
        statements = list(_statements(database, rows))
        if database == "sqlite":
            await asyncio.to_thread(_run_sqlite, url, statements)
        else:
            await _run_postgresql(url, statements)
        print(f"{rows} lines in {database} made in {time.monotonic() - started:.0f} s", flush=True)
        yield url


@contextlib.contextmanager
def _empty(database: str) -> Iterator[str]:
    if database == "sqlite":
        with tempfile.TemporaryDirectory(prefix="bench-") as folder:
            yield sqlite_url_of(Path(folder) / "store.db")
        return
    with running_postgresql() as server:
        server.sql("CREATE DATABASE bench")
        yield server.url("bench")


def _statements(database: str, rows: int) -> Iterator[str]:
    """The lines without the cost of keeping indexes, then the sums, then what a database knows about itself."""
    since, length = int((datetime.now(UTC) - timedelta(days=DAYS)).timestamp()), DAYS * 86_400
    numbers = NUMBERS[database].format(rows=rows, since=since, length=length)
    for columns in INDEXES:
        yield f"DROP INDEX ix_turns_{'_'.join(columns)}"
    yield ROWS.format(instant=INSTANT[database], numbers=numbers, accounts=ACCOUNTS, keys=KEYS, models=MODELS)
    for columns in INDEXES:
        yield f"CREATE INDEX ix_turns_{'_'.join(columns)} ON turns ({', '.join(columns)})"
    hour = f"{EPOCH[database]} / 3600"
    yield SUMMED.format(table="spent_hours", bucket="hour", of=hour, names=", ".join(SUMS), sums=ADDED, source="turns")
    sums = ", ".join(f"sum({name})" for name in SUMS)
    names = ", ".join(SUMS)
    yield SUMMED.format(table="spent_days", bucket="day", of="hour / 24", names=names, sums=sums, source="spent_hours")
    for facet in Facet:
        yield NAMED.format(facet=facet.value, names=names, sums=sums)
    yield TOTALLED.format(names=names, sums=sums)
    yield "ANALYZE"


INDEXES = (("started_at",), ("account_id", "started_at"), ("api_key_id", "started_at"))


def _run_sqlite(url: str, statements: list[str]) -> None:
    with contextlib.closing(
        sqlite3.connect(url.removeprefix("sqlite+aiosqlite:///"), isolation_level=None)
    ) as database:
        database.execute("PRAGMA journal_mode=OFF")
        database.execute("PRAGMA synchronous=OFF")
        for statement in statements:
            if statement != "ANALYZE":  # the product never does
                database.execute(statement)


async def _run_postgresql(url: str, statements: list[str]) -> None:
    connection = await asyncpg.connect(url.replace("+asyncpg", ""))
    try:
        for statement in statements:
            await connection.execute(statement, timeout=3_600)
    finally:
        await connection.close()


def _ago(*, days: int) -> Timestamp:
    stamp = Timestamp()
    stamp.FromDatetime(datetime.now(UTC) - timedelta(days=days))
    return stamp


def arguments() -> argparse.Namespace:
    """What was asked for."""
    parser = argparse.ArgumentParser(prog="python -m bench.queries", description="Asks a long request log.")
    parser.add_argument("--rows", type=int, default=5_000_000, help="lines in the log")
    parser.add_argument("--on", nargs="+", choices=["sqlite", "postgresql"], default=["sqlite", "postgresql"])
    parser.add_argument("--purging", action="store_true", help="have a quarter of the lines deleted meanwhile")
    parser.add_argument("--seconds", type=float, default=20.0, help="how long is asked")
    return parser.parse_args()


if __name__ == "__main__":
    wanted = arguments()
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        is_good = runner.run(main(wanted.rows, wanted.on, purging=wanted.purging, within_s=wanted.seconds))
    raise SystemExit(0 if is_good else 1)
