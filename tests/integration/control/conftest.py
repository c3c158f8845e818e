"""A running control on a database of its own, and those who talk to it: an operator, a worker, gateways."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial
from pathlib import Path
from typing import TypeAlias

import pytest

from codex_lb.control.app import Control, open_control
from codex_lb.control.assembly.timing import Timing
from codex_lb.control.settings import ControlSettings
from tests.integration.control.peers import Peers, open_peers
from tests.support.clock import FakeClock
from tests.support.databases import postgresql_server, postgresql_template, postgresql_url

__all__ = ["postgresql_server", "postgresql_template", "postgresql_url"]

TICK_S = 0.005  # lapsed leases are looked for this often, so that a test which moves its clock sees them at once

OpenControl: TypeAlias = Callable[[], AbstractAsyncContextManager[Control]]


@pytest.fixture
def clock() -> FakeClock:
    """The test's time."""
    return FakeClock()


@pytest.fixture
def settings(tmp_path: Path) -> ControlSettings:
    """Control with an empty data folder and two slots per account."""
    return ControlSettings(data_dir=tmp_path, proxy_account_stream_limit=2)


@pytest.fixture
def start(settings: ControlSettings, clock: FakeClock, tmp_path: Path) -> OpenControl:
    """Starts control, as often as a test wants."""
    listen = [f"unix:{tmp_path / 'control.sock'}"]
    return partial(open_control, settings, clock, listen=listen, timing=Timing(reannounce_grace_s=0.0, tick_s=TICK_S))


@pytest.fixture
async def control(start: OpenControl) -> AsyncIterator[Control]:
    """A running control."""
    async with start() as running:
        yield running


@pytest.fixture
async def peers(control: Control) -> AsyncIterator[Peers]:
    """Everybody who talks to it."""
    async with open_peers(control.targets[0]) as talking:
        yield talking
