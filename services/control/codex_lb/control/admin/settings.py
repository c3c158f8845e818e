"""SettingsService: what an operator decides for the whole pool."""

from __future__ import annotations

from typing import TypeAlias

import grpc.aio

from codex_lb.api.admin.v1 import settings_service_pb2 as pb
from codex_lb.api.admin.v1 import settings_service_pb2_grpc
from codex_lb.control.admin.accounts import COLLECTION, account_id
from codex_lb.control.admin.permissions import ruled
from codex_lb.control.domain.settings import NOBODY, Strategy, UpstreamTransport, known_fields
from codex_lb.control.errors import InvalidUpdateError
from codex_lb.control.usecases.live_settings import SettingsBook
from codex_lb.control.usecases.ports import Store

SERVICE = pb.DESCRIPTOR.services_by_name["SettingsService"]
NAME = "settings"

STRATEGY = {
    pb.ROUTING_STRATEGY_CAPACITY_WEIGHTED: Strategy.CAPACITY_WEIGHTED,
    pb.ROUTING_STRATEGY_USAGE_WEIGHTED: Strategy.USAGE_WEIGHTED,
    pb.ROUTING_STRATEGY_ROUND_ROBIN: Strategy.ROUND_ROBIN,
    pb.ROUTING_STRATEGY_FILL_FIRST: Strategy.FILL_FIRST,
    pb.ROUTING_STRATEGY_SEQUENTIAL_DRAIN: Strategy.SEQUENTIAL_DRAIN,
    pb.ROUTING_STRATEGY_SINGLE_ACCOUNT: Strategy.SINGLE_ACCOUNT,
}
STRATEGY_WIRE = {strategy: number for number, strategy in STRATEGY.items()}

Context: TypeAlias = "grpc.aio.ServicerContext[object, object]"


class SettingsRpc(settings_service_pb2_grpc.SettingsServiceServicer):
    """The face of the settings."""

    def __init__(self, book: SettingsBook, store: Store) -> None:
        self._book = book
        self._store = store

    @ruled(SERVICE)
    async def GetSettings(self, _request: pb.GetSettingsRequest, _: Context) -> pb.Settings:
        """What holds now."""
        return settings(self._book)

    @ruled(SERVICE)
    async def UpdateSettings(self, request: pb.UpdateSettingsRequest, _: Context) -> pb.Settings:
        """The settings, changed."""
        known_fields(request.update_mask.paths)
        values = {path: value(request.settings, path) for path in request.update_mask.paths}
        await self._book.change(self._store, values, etag=request.settings.etag)
        return settings(self._book)

    @ruled(SERVICE)
    async def ResetSettings(self, request: pb.ResetSettingsRequest, _: Context) -> pb.Settings:
        """The settings, with these fields as the environment has them."""
        await self._book.reset(self._store, request.reset_mask.paths)
        return settings(self._book)


def value(wanted: pb.Settings, path: str) -> object:
    """A field as the domain has it. Raises InvalidUpdateError and InvalidResourceNameError."""
    match path:
        case "routing_strategy":
            if wanted.routing_strategy not in STRATEGY:
                raise InvalidUpdateError("settings.routing_strategy must name a strategy.")
            return STRATEGY[wanted.routing_strategy]
        case "single_account":
            return account_id(wanted.single_account) if wanted.single_account else NOBODY
        case "unauthenticated_client_cidrs" | "allowed_client_cidrs":
            return tuple(getattr(wanted, path))
        case "upstream_stream_transport":
            if wanted.upstream_stream_transport not in set(UpstreamTransport):
                raise InvalidUpdateError("settings.upstream_stream_transport must be auto, http or websocket.")
            return UpstreamTransport(wanted.upstream_stream_transport)
        case _:
            return getattr(wanted, path)


def settings(book: SettingsBook) -> pb.Settings:
    """The settings as a message."""
    now = book.now
    return pb.Settings(
        name=NAME,
        routing_strategy=STRATEGY_WIRE[now.routing_strategy],
        prefer_earlier_reset=now.prefer_earlier_reset,
        single_account=f"{COLLECTION}{now.single_account}" if now.single_account else "",
        account_stream_limit=now.account_stream_limit,
        account_create_limit=now.account_create_limit,
        api_key_auth_enabled=now.api_key_auth_enabled,
        unauthenticated_client_cidrs=now.unauthenticated_client_cidrs,
        allowed_client_cidrs=now.allowed_client_cidrs,
        upstream_stream_transport=now.upstream_stream_transport,
        hide_upstream_quota_from_api_keys=now.hide_upstream_quota_from_api_keys,
        changed_fields=book.changed_fields,
        etag=book.etag,
    )
