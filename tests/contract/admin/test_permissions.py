"""Every admin method says who may call it and what is kept of the call."""

from __future__ import annotations

import importlib
import pkgutil
from collections.abc import Iterator

import pytest
from google.protobuf.descriptor import FileDescriptor, MethodDescriptor

import codex_lb.api.admin.v1 as admin_api
from codex_lb.api.admin.v1 import account_service_pb2, options_pb2
from codex_lb.api.control.v1 import policy_pb2
from codex_lb.api.errors.v1 import reasons_pb2
from codex_lb.control.admin.faces import SERVICES
from codex_lb.control.admin.permissions import MissingRuleError, Rule, require, rule_of, rules_of
from codex_lb.kit.rpc_errors import RpcFailure

FACES = {service.name: face for face, (service, _) in SERVICES.items()}


def files() -> Iterator[FileDescriptor]:
    """Every file of the admin API, found, not listed: a new one is tested without being named here."""
    for module in pkgutil.iter_modules(admin_api.__path__):
        if module.name.endswith("_pb2"):
            yield importlib.import_module(f"{admin_api.__name__}.{module.name}").DESCRIPTOR


METHODS = [method for file in files() for service in file.services_by_name.values() for method in service.methods]


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_method_declares_a_permission_and_an_audit_class(method: MethodDescriptor) -> None:
    rule = rule_of(method)

    assert rule.permission != options_pb2.PERMISSION_UNSPECIFIED
    assert rule.audit != options_pb2.AUDIT_CLASS_UNSPECIFIED


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_every_method_is_served_behind_its_rule(method: MethodDescriptor) -> None:
    served = getattr(FACES[method.containing_service.name], method.name)

    assert hasattr(served, "__wrapped__"), f"{method.name} lacks @ruled"


@pytest.mark.parametrize("method", METHODS, ids=lambda method: method.name)
def test_only_what_changes_nothing_is_open_to_readers(method: MethodDescriptor) -> None:
    is_reading = method.name.startswith(("Get", "List"))

    assert (rule_of(method).permission == options_pb2.PERMISSION_READ) == is_reading
    assert (rule_of(method).audit == options_pb2.AUDIT_CLASS_NONE) == is_reading


def test_a_method_without_a_rule_stops_the_start() -> None:
    with pytest.raises(MissingRuleError, match="Watch"):
        rules_of(policy_pb2.DESCRIPTOR.services_by_name["PolicyService"])


def test_a_caller_without_the_permission_is_refused_with_its_name() -> None:
    rule = rules_of(account_service_pb2.DESCRIPTOR.services_by_name["AccountService"])["DeleteAccount"]

    with pytest.raises(RpcFailure, match="permission admin") as caught:
        require(rule, frozenset({options_pb2.PERMISSION_READ, options_pb2.PERMISSION_OPERATE}))

    assert caught.value.reason == reasons_pb2.ERROR_REASON_SERVICE_TOKEN_INVALID
    require(Rule(options_pb2.PERMISSION_READ, options_pb2.AUDIT_CLASS_NONE), frozenset({options_pb2.PERMISSION_READ}))
