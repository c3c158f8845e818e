"""How the Connect protocol writes messages and failures in JSON, for calls that have one of each. Pure."""

from __future__ import annotations

import json
import re
from base64 import b64encode
from collections.abc import Mapping
from typing import TypeVar

from google.protobuf import json_format
from google.protobuf.message import Message
from grpc import StatusCode

from codex_lb.api.errors.v1 import reasons_pb2
from codex_lb.kit.rpc_errors import RpcFailure, to_status

JSON = "application/json"
TIMEOUT = re.compile(r"[0-9]{1,10}", re.ASCII)  # milliseconds
Wanted = TypeVar("Wanted", bound=Message)

# The HTTP status that goes with each of gRPC's codes.
STATUSES: Mapping[StatusCode, int] = {
    StatusCode.CANCELLED: 499,
    StatusCode.UNKNOWN: 500,
    StatusCode.INVALID_ARGUMENT: 400,
    StatusCode.DEADLINE_EXCEEDED: 504,
    StatusCode.NOT_FOUND: 404,
    StatusCode.ALREADY_EXISTS: 409,
    StatusCode.PERMISSION_DENIED: 403,
    StatusCode.RESOURCE_EXHAUSTED: 429,
    StatusCode.FAILED_PRECONDITION: 400,
    StatusCode.ABORTED: 409,
    StatusCode.OUT_OF_RANGE: 400,
    StatusCode.UNIMPLEMENTED: 501,
    StatusCode.INTERNAL: 500,
    StatusCode.UNAVAILABLE: 503,
    StatusCode.DATA_LOSS: 500,
    StatusCode.UNAUTHENTICATED: 401,
}


def code_of(status: StatusCode) -> str:
    """A code as it is written."""
    return "canceled" if status is StatusCode.CANCELLED else status.name.lower()


def read_message(kind: type[Wanted], body: bytes) -> Wanted:
    """The message; an empty body is an empty one. Raises RpcFailure, which names the field.

    A field that this version does not know is refused: whoever sent it meant something by it.
    """
    message, body = kind(), body.strip() or b"{}"
    if not body.startswith(b"{"):
        raise invalid(f"The body is no {kind.DESCRIPTOR.name}: it is no JSON object.")
    try:
        json_format.Parse(body, message)
    except (json_format.ParseError, UnicodeDecodeError, RecursionError) as error:
        why = str(error) if isinstance(error, json_format.ParseError) else "it is no JSON that can be read."
        raise invalid(f"The body is no {kind.DESCRIPTOR.name}: {why}") from error
    return message


def write_message(message: Message) -> bytes:
    """With every field that has a value by itself, so that whoever looks at it sees what there is."""
    plain = json_format.MessageToDict(message, always_print_fields_with_no_presence=True)
    return _json(plain)


def write_failure(failure: RpcFailure) -> bytes:
    """The failure with its details: why it was refused, and when another try makes sense."""
    status = to_status(failure)
    details = []
    for detail in status.details:
        shown = json_format.MessageToDict(detail)
        name = str(shown.pop("@type")).rpartition("/")[2]
        details.append({"type": name, "value": b64encode(detail.value).decode().rstrip("="), "debug": shown})
    return _json({"code": code_of(failure.code), "message": status.message, "details": details})


def write_refusal(code: StatusCode, message: str) -> bytes:
    """A failure of the protocol itself, which has no reason of ours."""
    return _json({"code": code_of(code), "message": message})


def read_timeout_s(given: str, *, timeout_s_max: float) -> float:
    """How long a caller is willing to wait, in seconds and within our own bound. Raises RpcFailure."""
    if not given:
        return timeout_s_max
    if not TIMEOUT.fullmatch(given):
        raise invalid("connect-timeout-ms must be a number of at most ten digits.")
    return min(int(given) / 1000, timeout_s_max)


def invalid(message: str) -> RpcFailure:
    """For what cannot be understood."""
    return RpcFailure(reasons_pb2.ERROR_REASON_INVALID_ARGUMENT, message)


def _json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()
