"""How control starts, and why it does not."""

from __future__ import annotations

from pathlib import Path

import anyio
import httpx
import pytest
from pydantic import SecretStr
from sqlalchemy import make_url

from codex_lb.api.admin.v1 import account_service_pb2 as pb
from codex_lb.api.errors.v1 import reasons_pb2
from codex_lb.control.app import ControlService, open_control, services_of
from codex_lb.control.errors import KeyFileError, MigrationError, StoreUnavailableError, WrongKeyError
from codex_lb.control.settings import ControlSettings
from codex_lb.kit.clock import SystemClock
from codex_lb.kit.health import Health
from codex_lb.kit.metrics import MetricsRegistry, metrics_app
from codex_lb.kit.service import Stop, run_all
from codex_lb.kit.settings import ConfigurationError
from codex_lb.kit.sockets import PortTakenError
from tests.integration.control.conftest import OpenControl
from tests.integration.control.peers import completed, open_peers, refused
from tests.support.clock import NOON, FakeClock
from tests.support.databases import PostgresqlServer
from tests.support.logins import auth_file


async def test_every_start_takes_a_higher_term(start: OpenControl) -> None:
    terms = []
    for _ in range(3):
        async with start() as control:
            terms.append(control.term)

    assert terms == [1, 2, 3]


async def test_another_key_stops_the_start_and_says_what_to_do(start: OpenControl, settings: ControlSettings) -> None:
    async with start() as control, open_peers(control.targets[0]) as peers:
        await peers.import_(auth_file("ann"))
    elsewhere = ControlSettings(data_dir=settings.data_dir / "elsewhere")
    async with open_control(elsewhere, FakeClock(), listen=[f"unix:{settings.data_dir}/elsewhere.sock"]):
        pass
    elsewhere.key_file.replace(settings.key_file)

    with pytest.raises(WrongKeyError, match="Put back the key file"):
        async with start():
            pass


async def test_a_key_file_that_others_can_read_stops_the_start(start: OpenControl, settings: ControlSettings) -> None:
    async with start():
        pass
    settings.key_file.chmod(0o644)

    with pytest.raises(KeyFileError, match="chmod 600"):
        async with start():
            pass


async def test_a_schema_that_is_behind_stops_the_start_when_migrating_is_off(tmp_path: Path) -> None:
    settings = ControlSettings(data_dir=tmp_path, database_migrate_on_startup=False)

    with pytest.raises(MigrationError, match="codex-lb migrate"):
        async with open_control(settings, FakeClock(), listen=[]):
            pass


async def test_a_database_that_is_away_stops_the_start(tmp_path: Path) -> None:
    settings = ControlSettings(data_dir=tmp_path, database_url=SecretStr("postgresql+asyncpg://u:pw@127.0.0.1:1/db"))

    with pytest.raises(StoreUnavailableError, match="the database did not answer"):
        async with open_control(settings, FakeClock(), listen=[]):
            pass


async def test_an_address_others_can_reach_needs_a_token(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="CODEX_LB_SERVICE_TOKEN"):
        async with open_control(ControlSettings(data_dir=tmp_path), FakeClock(), listen=["0.0.0.0:0"]):
            pass


async def test_two_controls_do_not_share_a_socket(start: OpenControl) -> None:
    async with start():
        with pytest.raises(PortTakenError, match="another codex-lb is running"):
            async with start():
                pass


async def test_over_tcp_the_service_token_is_asked_for(tmp_path: Path) -> None:
    settings = ControlSettings(data_dir=tmp_path, service_token=SecretStr("secret"))

    async with open_control(settings, FakeClock(), listen=["127.0.0.1:0"]) as control:
        async with open_peers(control.targets[0], service_token="secret") as peers:
            assert (await peers.status()).database == "sqlite"
        async with open_peers(control.targets[0], service_token="wrong") as peers:
            with pytest.raises(Exception, match="service token"):
                await peers.status()


async def test_metrics_show_what_is_in_memory(start: OpenControl, settings: ControlSettings) -> None:
    metrics = MetricsRegistry()
    listen = [f"unix:{settings.data_dir}/control.sock"]

    async with (
        open_control(settings, FakeClock(), listen=listen, metrics=metrics) as control,
        open_peers(control.targets[0]) as peers,
        peers.attach() as gateway,
        httpx.AsyncClient(transport=httpx.ASGITransport(metrics_app(metrics)), base_url="http://test") as http,
    ):
        await peers.import_(auth_file("ann"))
        await gateway.acquire()
        page = (await http.get("/metrics")).text

    assert "codex_lb_leases_held 1.0" in page
    assert 'codex_lb_accounts{status="active"} 1.0' in page


async def test_on_postgresql_a_database_that_goes_away_is_noticed_waited_for_and_does_not_stop_turns(
    tmp_path: Path, postgresql_server: PostgresqlServer, postgresql_url: str
) -> None:
    settings = ControlSettings(data_dir=tmp_path, database_url=SecretStr(postgresql_url))
    listen = [f"unix:{tmp_path}/control.sock"]
    database = make_url(postgresql_url).database
    async with (
        open_control(settings, FakeClock(), listen=listen) as control,
        open_peers(control.targets[0]) as peers,
        peers.attach() as gateway,
    ):
        [account] = await peers.import_(auth_file("ann"))
        await control.watch.ask()
        well = control.watch.trouble()

        postgresql_server.sql(f"ALTER DATABASE {database} ALLOW_CONNECTIONS false")
        postgresql_server.sql(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")  # noqa: S608
        await control.watch.ask()
        trouble = control.watch.trouble()
        granted = await gateway.acquire()
        failure = await refused(peers.accounts.PauseAccount(pb.PauseAccountRequest(name=account.name)))
        postgresql_server.sql(f"ALTER DATABASE {database} ALLOW_CONNECTIONS true")
        await gateway.settle(completed(granted, at=NOON))
        await control.watch.ask()

    assert (well, trouble, control.watch.trouble()) == (None, "the database does not answer", None)
    assert failure.reason == reasons_pb2.ERROR_REASON_STORE_UNAVAILABLE
    assert failure.retry_after_s == 2.0


async def test_control_is_a_service_that_says_when_it_serves_and_ends_when_told(settings: ControlSettings) -> None:
    stop, health = Stop(), Health()
    listen = [f"unix:{settings.data_dir}/control.sock"]
    service = ControlService(settings, SystemClock(), listen=listen, health=health)

    with anyio.fail_after(10):
        await run_all([service], stop, drain_s=5.0, on_ready=stop.set)

    assert health.states()["draining"] == "stopping"


def test_control_on_its_own_serves_probes_and_metrics_beside_grpc(tmp_path: Path) -> None:
    settings = ControlSettings(data_dir=tmp_path, metrics_enabled=True)

    assert [service.name for service in services_of(settings, SystemClock(), Health())] == [
        "control-http",
        "control-metrics",
        "control",
    ]
