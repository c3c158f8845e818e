"""A refusal on its way through gRPC: RpcFailure <-> google.rpc.Status, and the one table of status codes."""

from __future__ import annotations

from collections.abc import Mapping

import grpc
from google.protobuf.message import DecodeError
from google.rpc import error_details_pb2, status_pb2  # type: ignore[import-untyped] # the wheel ships no types

from codex_lb.api.errors.v1.reasons_pb2 import ErrorReason

DOMAIN = "codex-lb"
PREFIX = "ERROR_REASON_"
DETAILS_KEY = "grpc-status-details-bin"  # where gRPC carries a google.rpc.Status
MESSAGE_CHARS_MAX = 1000  # it travels twice in the trailers, which have a bound of their own

# How a caller should react to each reason. A reason without a line here fails a test.
STATUS_CODES: Mapping[ErrorReason.ValueType, grpc.StatusCode] = {
    ErrorReason.ERROR_REASON_UNSPECIFIED: grpc.StatusCode.UNKNOWN,
    ErrorReason.ERROR_REASON_INVALID_ARGUMENT: grpc.StatusCode.INVALID_ARGUMENT,
    ErrorReason.ERROR_REASON_ACCOUNT_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorReason.ERROR_REASON_ACCOUNT_STATE_CONFLICT: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.ERROR_REASON_POOL_EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorReason.ERROR_REASON_NO_ACCOUNT_AVAILABLE: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.ERROR_REASON_MODEL_NOT_OFFERED: grpc.StatusCode.NOT_FOUND,
    ErrorReason.ERROR_REASON_POOL_BUSY: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorReason.ERROR_REASON_OWNER_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    ErrorReason.ERROR_REASON_KEY_LIMIT_REACHED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorReason.ERROR_REASON_KEY_INVALID: grpc.StatusCode.UNAUTHENTICATED,
    ErrorReason.ERROR_REASON_STALE_EPOCH: grpc.StatusCode.ABORTED,
    ErrorReason.ERROR_REASON_CREDENTIAL_UNREADABLE: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.ERROR_REASON_STORE_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    ErrorReason.ERROR_REASON_SERVICE_TOKEN_INVALID: grpc.StatusCode.UNAUTHENTICATED,
    ErrorReason.ERROR_REASON_PROTOCOL_MISMATCH: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.ERROR_REASON_DRAINING: grpc.StatusCode.UNAVAILABLE,
    ErrorReason.ERROR_REASON_INTERNAL: grpc.StatusCode.INTERNAL,
    ErrorReason.ERROR_REASON_ETAG_MISMATCH: grpc.StatusCode.ABORTED,
    ErrorReason.ERROR_REASON_FLOW_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorReason.ERROR_REASON_TOO_MANY_FLOWS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorReason.ERROR_REASON_ISSUER_REFUSED: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.ERROR_REASON_ISSUER_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    ErrorReason.ERROR_REASON_KEY_ROTATION_REFUSED: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.ERROR_REASON_WORKER_SILENT: grpc.StatusCode.UNAVAILABLE,
    ErrorReason.ERROR_REASON_REFRESH_SWITCHED_OFF: grpc.StatusCode.FAILED_PRECONDITION,
    ErrorReason.ERROR_REASON_REQUEST_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorReason.ERROR_REASON_API_KEY_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorReason.ERROR_REASON_ALERT_TARGET_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
    ErrorReason.ERROR_REASON_COORDINATION_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    ErrorReason.ERROR_REASON_SIGN_IN_REQUIRED: grpc.StatusCode.UNAUTHENTICATED,
    ErrorReason.ERROR_REASON_FOREIGN_ORIGIN: grpc.StatusCode.PERMISSION_DENIED,
    ErrorReason.ERROR_REASON_TOO_MANY_ATTEMPTS: grpc.StatusCode.RESOURCE_EXHAUSTED,
    ErrorReason.ERROR_REASON_SIGN_IN_REFUSED: grpc.StatusCode.UNAUTHENTICATED,
    ErrorReason.ERROR_REASON_WEB_SESSION_NOT_FOUND: grpc.StatusCode.NOT_FOUND,
}


class RpcFailure(Exception):  # noqa: N818 - it is the failure a peer is told of, not a defect of ours
    """A refusal with a reason that the other side can act on.

    `retry_after_s` is set when trying again later makes sense. The reason is UNSPECIFIED when the failure did not
    come from our services but from the wire; then `metadata["grpc_status"]` says what gRPC made of it.
    """

    def __init__(
        self,
        reason: ErrorReason.ValueType,
        message: str,
        *,
        metadata: Mapping[str, str] | None = None,
        retry_after_s: float | None = None,
    ) -> None:
        super().__init__(message)
        self.reason = reason
        self.message = message
        self.metadata = dict(metadata or {})
        self.retry_after_s = retry_after_s

    @property
    def code(self) -> grpc.StatusCode:
        return STATUS_CODES[self.reason]


def to_status(failure: RpcFailure) -> status_pb2.Status:
    """The failure as google.rpc.Status with ErrorInfo and, if it may be retried, RetryInfo."""
    status = status_pb2.Status(code=failure.code.value[0], message=failure.message[:MESSAGE_CHARS_MAX])
    reason = ErrorReason.Name(failure.reason).removeprefix(PREFIX)
    status.details.add().Pack(error_details_pb2.ErrorInfo(reason=reason, domain=DOMAIN, metadata=failure.metadata))
    if failure.retry_after_s is not None:
        retry = error_details_pb2.RetryInfo()
        retry.retry_delay.FromMicroseconds(round(failure.retry_after_s * 1_000_000))
        status.details.add().Pack(retry)
    return status


def from_status(status: status_pb2.Status) -> RpcFailure | None:
    """The failure that the status carries, or None if it is not one of ours."""
    info, retry = error_details_pb2.ErrorInfo(), error_details_pb2.RetryInfo()
    has_info = any(detail.Unpack(info) for detail in status.details)
    has_retry = any(detail.Unpack(retry) for detail in status.details)
    name = PREFIX + info.reason
    if not has_info or info.domain != DOMAIN or name not in ErrorReason.keys():  # noqa: SIM118 - an enum, no mapping
        return None
    retry_after_s = retry.retry_delay.ToMicroseconds() / 1_000_000 if has_retry else None
    return RpcFailure(
        ErrorReason.Value(name), status.message, metadata=dict(info.metadata), retry_after_s=retry_after_s
    )


def from_rpc_error(error: grpc.aio.AioRpcError) -> RpcFailure:
    """What a client learns from a failed call."""
    status = _carried_status(error)
    failure = from_status(status) if status is not None else None
    return failure or RpcFailure(
        ErrorReason.ERROR_REASON_UNSPECIFIED,
        error.details() or error.code().name,
        metadata={"grpc_status": error.code().name},
    )


def _carried_status(error: grpc.aio.AioRpcError) -> status_pb2.Status | None:
    packed = (error.trailing_metadata() or grpc.aio.Metadata()).get(DETAILS_KEY)
    if not isinstance(packed, bytes):
        return None
    try:
        return status_pb2.Status.FromString(packed)
    except DecodeError:
        return None  # someone between us and the service wrote it; the status code still stands
