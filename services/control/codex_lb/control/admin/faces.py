"""Every service of the admin API in one table: gRPC takes them from here, and HTTP does."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import grpc.aio
from google.protobuf.descriptor import ServiceDescriptor

from codex_lb.api.admin.v1.account_service_pb2_grpc import add_AccountServiceServicer_to_server
from codex_lb.api.admin.v1.affinity_service_pb2_grpc import add_AffinityServiceServicer_to_server
from codex_lb.api.admin.v1.alert_service_pb2_grpc import add_AlertServiceServicer_to_server
from codex_lb.api.admin.v1.api_key_service_pb2_grpc import add_ApiKeyServiceServicer_to_server
from codex_lb.api.admin.v1.decision_service_pb2_grpc import add_DecisionServiceServicer_to_server
from codex_lb.api.admin.v1.key_service_pb2_grpc import add_KeyServiceServicer_to_server
from codex_lb.api.admin.v1.oauth_service_pb2_grpc import add_OAuthServiceServicer_to_server
from codex_lb.api.admin.v1.report_service_pb2_grpc import add_ReportServiceServicer_to_server
from codex_lb.api.admin.v1.request_log_service_pb2_grpc import add_RequestLogServiceServicer_to_server
from codex_lb.api.admin.v1.settings_service_pb2_grpc import add_SettingsServiceServicer_to_server
from codex_lb.api.admin.v1.system_service_pb2_grpc import add_SystemServiceServicer_to_server
from codex_lb.api.admin.v1.web_access_service_pb2_grpc import add_WebAccessServiceServicer_to_server
from codex_lb.control.admin import (
    accounts,
    affinities,
    alerts,
    api_keys,
    decisions,
    keys,
    oauth,
    reports,
    request_log,
    settings,
    system,
    web_access,
)
from codex_lb.kit.rpc_server import Register

AddToServer: TypeAlias = Callable[[Any, grpc.aio.Server], None]

# The class that serves it, what it is called, and how gRPC takes it in.
SERVICES: Mapping[type[object], tuple[ServiceDescriptor, AddToServer]] = {
    accounts.AccountRpc: (accounts.SERVICE, add_AccountServiceServicer_to_server),
    affinities.AffinityRpc: (affinities.SERVICE, add_AffinityServiceServicer_to_server),
    alerts.AlertRpc: (alerts.SERVICE, add_AlertServiceServicer_to_server),
    api_keys.ApiKeyRpc: (api_keys.SERVICE, add_ApiKeyServiceServicer_to_server),
    decisions.DecisionRpc: (decisions.SERVICE, add_DecisionServiceServicer_to_server),
    keys.KeyRpc: (keys.SERVICE, add_KeyServiceServicer_to_server),
    oauth.OAuthRpc: (oauth.SERVICE, add_OAuthServiceServicer_to_server),
    reports.ReportRpc: (reports.SERVICE, add_ReportServiceServicer_to_server),
    request_log.RequestLogRpc: (request_log.SERVICE, add_RequestLogServiceServicer_to_server),
    settings.SettingsRpc: (settings.SERVICE, add_SettingsServiceServicer_to_server),
    system.SystemRpc: (system.SERVICE, add_SystemServiceServicer_to_server),
    web_access.WebAccessRpc: (web_access.SERVICE, add_WebAccessServiceServicer_to_server),
}


@dataclass(frozen=True, slots=True)
class Face:
    """A service, ready to be served."""

    service: ServiceDescriptor
    servicer: object
    register: Register  # with a gRPC server


def faces_of(servicers: Iterable[object]) -> tuple[Face, ...]:
    """Each with its place in the table."""
    return tuple(_face_of(servicer) for servicer in servicers)


def _face_of(servicer: object) -> Face:
    service, add_to_server = SERVICES[type(servicer)]
    return Face(service, servicer, partial(add_to_server, servicer))
