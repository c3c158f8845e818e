"""The one table from what goes wrong in control to what callers are told."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

from codex_lb.api.errors.v1 import reasons_pb2 as reasons
from codex_lb.control import errors
from codex_lb.kit.rpc_errors import RpcFailure

AWAY_RETRY_AFTER_S = 2.0  # a database or Redis that restarts is back within seconds

REASONS: Mapping[type[errors.ControlError], reasons.ErrorReason.ValueType] = {
    errors.AccountNotFoundError: reasons.ERROR_REASON_ACCOUNT_NOT_FOUND,
    errors.AccountStateConflictError: reasons.ERROR_REASON_ACCOUNT_STATE_CONFLICT,
    errors.ApiKeyNotFoundError: reasons.ERROR_REASON_API_KEY_NOT_FOUND,
    errors.AlertTargetNotFoundError: reasons.ERROR_REASON_ALERT_TARGET_NOT_FOUND,
    errors.CoordinationUnavailableError: reasons.ERROR_REASON_COORDINATION_UNAVAILABLE,
    errors.CredentialUnreadableError: reasons.ERROR_REASON_CREDENTIAL_UNREADABLE,
    errors.EntriesRefusedError: reasons.ERROR_REASON_INVALID_ARGUMENT,
    errors.FlowChangedError: reasons.ERROR_REASON_ETAG_MISMATCH,
    errors.FlowNotFoundError: reasons.ERROR_REASON_FLOW_NOT_FOUND,
    errors.InvalidAuthFileError: reasons.ERROR_REASON_INVALID_ARGUMENT,
    errors.InvalidCallbackError: reasons.ERROR_REASON_INVALID_ARGUMENT,
    errors.IssuerRefusedError: reasons.ERROR_REASON_ISSUER_REFUSED,
    errors.IssuerUnavailableError: reasons.ERROR_REASON_ISSUER_UNAVAILABLE,
    errors.KeyRotationRefusedError: reasons.ERROR_REASON_KEY_ROTATION_REFUSED,
    errors.OtherSeatError: reasons.ERROR_REASON_ACCOUNT_STATE_CONFLICT,
    errors.TooManyFlowsError: reasons.ERROR_REASON_TOO_MANY_FLOWS,
    errors.InvalidDatabaseUrlError: reasons.ERROR_REASON_INTERNAL,  # these five end a start; no call can meet them
    errors.InvalidPricesError: reasons.ERROR_REASON_INTERNAL,
    errors.KeyFileError: reasons.ERROR_REASON_INTERNAL,
    errors.MigrationError: reasons.ERROR_REASON_INTERNAL,
    errors.WrongKeyError: reasons.ERROR_REASON_INTERNAL,
    errors.InvalidPageTokenError: reasons.ERROR_REASON_INVALID_ARGUMENT,
    errors.RequestNotFoundError: reasons.ERROR_REASON_REQUEST_NOT_FOUND,
    errors.InvalidUpdateError: reasons.ERROR_REASON_INVALID_ARGUMENT,
    errors.InvalidQueryError: reasons.ERROR_REASON_INVALID_ARGUMENT,
    errors.InvalidReportError: reasons.ERROR_REASON_INVALID_ARGUMENT,
    errors.InvalidResourceNameError: reasons.ERROR_REASON_INVALID_ARGUMENT,
    errors.RefreshSwitchedOffError: reasons.ERROR_REASON_REFRESH_SWITCHED_OFF,
    errors.SignInRefusedError: reasons.ERROR_REASON_SIGN_IN_REFUSED,
    errors.StaleEpochError: reasons.ERROR_REASON_STALE_EPOCH,
    errors.StoreConflictError: reasons.ERROR_REASON_ETAG_MISMATCH,
    errors.StoreUnavailableError: reasons.ERROR_REASON_STORE_UNAVAILABLE,
    errors.UnstorableError: reasons.ERROR_REASON_INVALID_ARGUMENT,
    errors.WebSessionNotFoundError: reasons.ERROR_REASON_WEB_SESSION_NOT_FOUND,
    errors.WorkerSilentError: reasons.ERROR_REASON_WORKER_SILENT,
}


def failure(error: errors.ControlError) -> RpcFailure:
    """What a caller is told."""
    is_away = isinstance(error, errors.StoreUnavailableError | errors.CoordinationUnavailableError)
    retry_after_s = AWAY_RETRY_AFTER_S if is_away else None
    return RpcFailure(REASONS[type(error)], str(error), retry_after_s=retry_after_s)


@contextmanager
def told_as_failures() -> Iterator[None]:
    """Inside, what control refuses or cannot do rises as an RpcFailure."""
    try:
        yield
    except errors.ControlError as error:
        raise failure(error) from error
