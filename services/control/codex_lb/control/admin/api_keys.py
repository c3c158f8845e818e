"""ApiKeyService: what clients present, and what they may use with it."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from datetime import timedelta
from typing import TypeAlias

import grpc.aio

from codex_lb.api.admin.v1 import api_key_service_pb2 as pb
from codex_lb.api.admin.v1 import api_key_service_pb2_grpc
from codex_lb.control.admin.accounts import COLLECTION as ACCOUNTS
from codex_lb.control.admin.accounts import account_id
from codex_lb.control.admin.permissions import ruled
from codex_lb.control.domain.api_key import ApiKey, UsageSection
from codex_lb.control.domain.ids import AccountId, ApiKeyId
from codex_lb.control.domain.limit import Limit, LimitUnit, LimitWindow
from codex_lb.control.errors import InvalidResourceNameError, InvalidUpdateError
from codex_lb.control.rpcs.instants import EPOCH, instant, read_seconds, wire_instant
from codex_lb.control.usecases.keep_api_keys import KeepApiKeys
from codex_lb.control.usecases.view_api_keys import ApiKeyView, ViewApiKeys

COLLECTION = "apiKeys/"
SERVICE = pb.DESCRIPTOR.services_by_name["ApiKeyService"]

UNIT = {
    pb.LIMIT_UNIT_TOTAL_TOKENS: LimitUnit.TOTAL_TOKENS,
    pb.LIMIT_UNIT_INPUT_TOKENS: LimitUnit.INPUT_TOKENS,
    pb.LIMIT_UNIT_OUTPUT_TOKENS: LimitUnit.OUTPUT_TOKENS,
    pb.LIMIT_UNIT_COST_USD: LimitUnit.COST_USD,
    pb.LIMIT_UNIT_REQUESTS: LimitUnit.REQUESTS,
}
UNIT_WIRE = {unit: number for number, unit in UNIT.items()}
WINDOW = {
    pb.LIMIT_WINDOW_FIVE_HOURS: LimitWindow.FIVE_HOURS,
    pb.LIMIT_WINDOW_DAY: LimitWindow.DAY,
    pb.LIMIT_WINDOW_WEEK: LimitWindow.WEEK,
    pb.LIMIT_WINDOW_MONTH: LimitWindow.MONTH,
}
WINDOW_WIRE = {window: number for number, window in WINDOW.items()}
SECTION = {
    pb.USAGE_SECTION_UPSTREAM_LIMITS: UsageSection.UPSTREAM_LIMITS,
    pb.USAGE_SECTION_ACCOUNT_POOL_USAGE: UsageSection.ACCOUNT_POOL_USAGE,
}
SECTION_WIRE = {section: number for number, section in SECTION.items()}
Context: TypeAlias = "grpc.aio.ServicerContext[object, object]"


class ApiKeyRpc(api_key_service_pb2_grpc.ApiKeyServiceServicer):
    """The face of what is done to API keys. A key in clear is in the answers of create and rotate, and nowhere else."""

    def __init__(self, view: ViewApiKeys, keep: KeepApiKeys) -> None:
        self._view = view
        self._keep = keep

    @ruled(SERVICE)
    async def CreateApiKey(self, request: pb.CreateApiKeyRequest, _: Context) -> pb.CreateApiKeyResponse:
        """A new key, shown once."""
        wanted = request.api_key
        # Who says nothing about what its holder sees means everything, as it is with a key of its own.
        fields = [field for field in FIELDS if field != "usage_sections" or wanted.usage_sections]
        key, secret = await self._keep.create(lambda blank: updated(blank, wanted, fields))
        return pb.CreateApiKeyResponse(api_key=api_key(await self._view.view(key)), secret=secret.text)

    @ruled(SERVICE)
    async def GetApiKey(self, request: pb.GetApiKeyRequest, _: Context) -> pb.ApiKey:
        """One key."""
        return api_key(await self._view.one(api_key_id(request.name)))

    @ruled(SERVICE)
    async def ListApiKeys(self, request: pb.ListApiKeysRequest, _: Context) -> pb.ListApiKeysResponse:
        """A page."""
        page = await self._view.page(size=request.page_size, token=request.page_token)
        return pb.ListApiKeysResponse(
            api_keys=[api_key(view) for view in page.entries],
            next_page_token=page.next_page_token,
            total_size=page.total,
        )

    @ruled(SERVICE)
    async def UpdateApiKey(self, request: pb.UpdateApiKeyRequest, _: Context) -> pb.ApiKey:
        """The key, changed."""
        wanted, paths = request.api_key, request.update_mask.paths
        key = await self._keep.update(
            api_key_id(wanted.name), lambda known: updated(known, wanted, paths), etag=wanted.etag
        )
        return api_key(await self._view.view(key))

    @ruled(SERVICE)
    async def RotateApiKey(self, request: pb.RotateApiKeyRequest, _: Context) -> pb.RotateApiKeyResponse:
        """The key with another secret, shown once."""
        overlap = timedelta(seconds=read_seconds(request.overlap))
        key, secret = await self._keep.rotate(api_key_id(request.name), overlap=overlap, etag=request.etag)
        return pb.RotateApiKeyResponse(api_key=api_key(await self._view.view(key)), secret=secret.text)

    @ruled(SERVICE)
    async def EnableApiKey(self, request: pb.EnableApiKeyRequest, _: Context) -> pb.ApiKey:
        """The key, working again."""
        key = await self._keep.enable(api_key_id(request.name), is_enabled=True)
        return api_key(await self._view.view(key))

    @ruled(SERVICE)
    async def DisableApiKey(self, request: pb.DisableApiKeyRequest, _: Context) -> pb.ApiKey:
        """The key, stopped."""
        key = await self._keep.enable(api_key_id(request.name), is_enabled=False)
        return api_key(await self._view.view(key))

    @ruled(SERVICE)
    async def ResetApiKeyUsage(self, request: pb.ResetApiKeyUsageRequest, _: Context) -> pb.ApiKey:
        """The key, with nothing used."""
        key = await self._keep.reset_usage(api_key_id(request.name), list(request.limit_ids))
        return api_key(await self._view.view(key))

    @ruled(SERVICE)
    async def DeleteApiKey(self, request: pb.DeleteApiKeyRequest, _: Context) -> pb.DeleteApiKeyResponse:
        """Nothing: it is gone."""
        await self._keep.delete(api_key_id(request.name))
        return pb.DeleteApiKeyResponse()


def api_key_id(name: str) -> ApiKeyId:
    """The id in a resource name. Raises InvalidResourceNameError."""
    found = name.removeprefix(COLLECTION)
    if not name.startswith(COLLECTION) or not found or "/" in found:
        raise InvalidResourceNameError("name must have the form apiKeys/{api_key_id}.")
    return ApiKeyId(found)


def updated(known: ApiKey, wanted: pb.ApiKey, paths: Iterable[str]) -> ApiKey:
    """The key with the fields of these paths as wanted. Raises InvalidUpdateError."""
    for path in paths:
        take = FIELDS.get(path)
        if take is None:
            raise InvalidUpdateError(f"update_mask: {path[:100]} is no field that can be changed.")
        known = take(known, wanted)
    return known


def scope_of(wanted: pb.ApiKey) -> tuple[AccountId, ...] | None:
    """The accounts of a scope, None without one. Raises InvalidResourceNameError."""
    if not wanted.HasField("account_scope"):
        return None
    return tuple(account_id(name) for name in dict.fromkeys(wanted.account_scope.accounts))


def sections_of(wanted: pb.ApiKey) -> tuple[UsageSection, ...]:
    """Those that this version knows."""
    return tuple(dict.fromkeys(SECTION[section] for section in wanted.usage_sections if section in SECTION))


# What people decide about a key, and how it is taken from a message; given when the key is made, and updated later.
FIELDS: Mapping[str, Callable[[ApiKey, pb.ApiKey], ApiKey]] = {
    "display_name": lambda key, wanted: replace(key, name=wanted.display_name),
    "expires_at": lambda key, wanted: replace(key, expires_at=instant(wanted, "expires_at")),
    "allowed_models": lambda key, wanted: replace(key, allowed_models=once(wanted.allowed_models)),
    "enforced_model": lambda key, wanted: replace(key, enforced_model=wanted.enforced_model),
    "enforced_reasoning_effort": lambda key, wanted: replace(
        key, enforced_reasoning_effort=wanted.enforced_reasoning_effort
    ),
    "enforced_service_tier": lambda key, wanted: replace(key, enforced_service_tier=wanted.enforced_service_tier),
    "allowed_reasoning_efforts": lambda key, wanted: replace(
        key, allowed_reasoning_efforts=once(wanted.allowed_reasoning_efforts)
    ),
    "account_scope": lambda key, wanted: replace(key, account_scope=scope_of(wanted)),
    "streams_max": lambda key, wanted: replace(key, streams_max=wanted.streams_max),
    "usage_sections": lambda key, wanted: replace(key, usage_sections=sections_of(wanted)),
    "limits": lambda key, wanted: replace(key, limits=tuple(limit_of(limit) for limit in wanted.limits)),
}


def once(words: Iterable[str]) -> tuple[str, ...]:
    """Each word once, in the order in which they came."""
    return tuple(dict.fromkeys(words))


def limit_of(wanted: pb.Limit) -> Limit:
    """A limit as it is asked for. Raises InvalidUpdateError."""
    if wanted.unit not in UNIT or wanted.window not in WINDOW:
        raise InvalidUpdateError("Every one of api_key.limits needs a unit and a window.")
    return Limit("", UNIT[wanted.unit], WINDOW[wanted.window], wanted.model, wanted.amount_max, begins_at=EPOCH)


def api_key(view: ApiKeyView) -> pb.ApiKey:
    """A key."""
    key = view.key
    message = pb.ApiKey(
        name=f"{COLLECTION}{key.api_key_id}",
        display_name=key.name,
        key_prefix=key.prefix,
        disabled=not key.is_enabled,
        expires_at=wire_instant(key.expires_at),
        allowed_models=key.allowed_models,
        enforced_model=key.enforced_model,
        enforced_reasoning_effort=key.enforced_reasoning_effort,
        enforced_service_tier=key.enforced_service_tier,
        allowed_reasoning_efforts=key.allowed_reasoning_efforts,
        streams_max=key.streams_max,
        usage_sections=[SECTION_WIRE[section] for section in key.usage_sections],
        created_at=wire_instant(key.created_at),
        updated_at=wire_instant(key.updated_at),
        last_used_at=wire_instant(view.last_used_at),
        previous_key_until=wire_instant(key.previous_until),
        etag=key.etag,
        limits=[limit(one, view) for one in key.limits],
        streams_in_use=view.streams_in_use,
    )
    if key.account_scope is not None:
        message.account_scope.SetInParent()
        message.account_scope.accounts.extend(f"{ACCOUNTS}{account_id}" for account_id in key.account_scope)
    return message


def limit(known: Limit, view: ApiKeyView) -> pb.Limit:
    """A limit, and how it stands."""
    use = view.use[known.limit_id]
    return pb.Limit(
        limit_id=known.limit_id,
        unit=UNIT_WIRE[known.unit],
        window=WINDOW_WIRE[known.window],
        model=known.model,
        amount_max=known.amount_max,
        amount_used=max(0, use.used),
        amount_reserved=use.reserved,
        window_started_at=wire_instant(known.window_at(view.now)),
        resets_at=wire_instant(known.resets_at(view.now)),
    )
