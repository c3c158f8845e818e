"""Who may call what, read from the option that every admin method carries in its proto."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import wraps
from typing import Any, TypeAlias, TypeVar

import grpc.aio
from google.protobuf.descriptor import MethodDescriptor, ServiceDescriptor

from codex_lb.api.admin.v1 import options_pb2
from codex_lb.api.errors.v1 import reasons_pb2
from codex_lb.control.rpcs.failures import told_as_failures
from codex_lb.kit.rpc_errors import RpcFailure

Permission: TypeAlias = options_pb2.Permission.ValueType
AuditClass: TypeAlias = options_pb2.AuditClass.ValueType

# gRPC lets nobody in but the owner of the unix socket and holders of the service token: both may do everything.
ALL_PERMISSIONS: frozenset[Permission] = frozenset(
    {options_pb2.PERMISSION_READ, options_pb2.PERMISSION_OPERATE, options_pb2.PERMISSION_ADMIN}
)


@dataclass(frozen=True, slots=True)
class HttpCaller:
    """Whoever calls a method over HTTP; stands where gRPC's context does."""

    permissions: frozenset[Permission]


class MissingRuleError(Exception):
    """A method that does not say who may call it. A defect, found before anything is served."""


@dataclass(frozen=True, slots=True)
class Rule:
    """What a method declares about itself."""

    permission: Permission
    audit: AuditClass


def rule_of(method: MethodDescriptor) -> Rule:
    """The rule of a method. Raises MissingRuleError."""
    declared = method.GetOptions().Extensions[options_pb2.rule]
    if not declared.permission or not declared.audit:
        raise MissingRuleError(f"{method.full_name} declares no rule")
    return Rule(declared.permission, declared.audit)


def rules_of(service: ServiceDescriptor) -> Mapping[str, Rule]:
    """The rules of all methods of a service, by the method's name. Raises MissingRuleError."""
    return {method.name: rule_of(method) for method in service.methods}


Face = TypeVar("Face")
Request = TypeVar("Request")
Response = TypeVar("Response")
Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Method: TypeAlias = Callable[[Face, Request, Context], Awaitable[Response]]


def ruled(service: ServiceDescriptor) -> Callable[[Method[Face, Request, Response]], Method[Face, Request, Response]]:
    """Makes a method of an admin face: callers without its permission are refused, and so is what control refuses."""
    rules = rules_of(service)

    def guard(method: Method[Face, Request, Response]) -> Method[Face, Request, Response]:
        rule = rules[method.__name__]

        @wraps(method)
        async def guarded(face: Face, request: Request, context: Context) -> Response:
            require(rule, permissions_of(context))
            with told_as_failures():
                return await method(face, request, context)

        return guarded

    return guard


def permissions_of(context: Context | HttpCaller) -> frozenset[Permission]:
    """What a caller may do."""
    return context.permissions if isinstance(context, HttpCaller) else ALL_PERMISSIONS


def require(rule: Rule, granted: frozenset[Permission]) -> None:
    """Raises RpcFailure for a caller who lacks the permission."""
    if rule.permission not in granted:
        name = options_pb2.Permission.Name(rule.permission).removeprefix("PERMISSION_").lower()
        raise RpcFailure(
            reasons_pb2.ERROR_REASON_SERVICE_TOKEN_INVALID, f"This needs the permission {name}, which the token lacks."
        )
