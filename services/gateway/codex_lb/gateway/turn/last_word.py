"""What a client is told when its turn has no answer. Pure; an account's own refusal never reaches it."""

from __future__ import annotations

from typing import assert_never

from codex_lb.gateway.errors import (
    GatewayError,
    KeyLimitReachedError,
    ModelNotOfferedError,
    NoAccountError,
    OwnerUnavailableError,
    PoolBusyError,
    PoolExhaustedError,
    RateLimitedError,
    UpstreamFailedError,
    UpstreamRefusedError,
    WrongKeyError,
)
from codex_lb.gateway.leasing.client import LeaseRefusedError
from codex_lb.gateway.outcome import Blame, Broken, Failure, Limited, Rejected


def error_of_refusal(refusal: LeaseRefusedError, failure: Failure | None) -> GatewayError:
    """Control grants no (further) lease; `failure` is how the attempt before ended, if there was one."""
    if isinstance(failure, Rejected) and failure.fault.blame is Blame.MODEL:
        return error_of_failure(failure, is_pool_spent=True)  # no account would have taken it
    match refusal.reason:
        case "ERROR_REASON_KEY_LIMIT_REACHED":
            return KeyLimitReachedError(str(refusal), retry_at=refusal.retry_at, resets_at=refusal.resets_at)
        case "ERROR_REASON_KEY_INVALID":
            return WrongKeyError(str(refusal))
        case "ERROR_REASON_POOL_EXHAUSTED":
            plan = failure.fault.plan if failure is not None else ""
            return PoolExhaustedError(str(refusal), resets_at=refusal.resets_at, plan=plan)
        case "ERROR_REASON_POOL_BUSY" if failure is None:
            return PoolBusyError(str(refusal), retry_at=refusal.retry_at)
        case "ERROR_REASON_MODEL_NOT_OFFERED":
            return ModelNotOfferedError(str(refusal))
        case "ERROR_REASON_OWNER_UNAVAILABLE":
            return OwnerUnavailableError(str(refusal), retry_at=refusal.retry_at)
        case _:
            # The turn left the only accounts there were: what they said is the better explanation.
            return NoAccountError(str(refusal)) if failure is None else error_of_failure(failure, is_pool_spent=True)


def error_of_failure(failure: Failure, *, is_pool_spent: bool) -> GatewayError:
    """The turn's budget is spent; this is how its last attempt ended."""
    fault = failure.fault
    match failure:
        case Limited() if is_pool_spent and fault.code != "rate_limit_exceeded":
            message = "Every account in the pool has used up its quota."
            return PoolExhaustedError(message, resets_at=fault.resets_at, plan=fault.plan)
        case Limited():
            return RateLimitedError(
                "The accounts that were tried are out of quota at the moment. Try again in a few seconds.",
                retry_after_s=fault.retry_after_s,
            )
        case Rejected() if fault.blame in (Blame.CLIENT, Blame.MODEL):
            return UpstreamRefusedError(fault)
        case Rejected() if fault.blame is Blame.ACCOUNT:
            return NoAccountError("Upstream rejected the login of every account that was tried. Sign them in again.")
        case Rejected() | Broken():
            return UpstreamFailedError(fault)
        case _:
            assert_never(failure)
