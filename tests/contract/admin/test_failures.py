"""Whatever goes wrong in control has a wire form."""

from __future__ import annotations

from collections.abc import Iterator

import grpc
import pytest

from codex_lb.api.errors.v1 import reasons_pb2
from codex_lb.control import errors
from codex_lb.control.errors import ControlError, EntriesRefusedError, StoreUnavailableError
from codex_lb.control.rpcs.failures import REASONS, failure, told_as_failures
from codex_lb.kit.rpc_errors import STATUS_CODES, RpcFailure


def everything_that_can_go_wrong(root: type[ControlError] = ControlError) -> Iterator[type[ControlError]]:
    """All errors of control but the root, which nobody raises."""
    for error in root.__subclasses__():
        yield error
        yield from everything_that_can_go_wrong(error)


ERRORS = sorted(set(everything_that_can_go_wrong()), key=lambda error: error.__name__)


@pytest.mark.parametrize("error", ERRORS)
def test_every_error_has_a_reason_that_says_something(error: type[ControlError]) -> None:
    assert REASONS[error] != reasons_pb2.ERROR_REASON_UNSPECIFIED
    assert STATUS_CODES[REASONS[error]] is not grpc.StatusCode.UNKNOWN


def test_the_table_names_nothing_that_is_gone() -> None:
    assert set(REASONS) == set(ERRORS)


def test_the_sentence_reaches_the_caller() -> None:
    told = failure(errors.AccountStateConflictError("The account is not paused, but active."))

    assert (told.reason, told.message) == (
        reasons_pb2.ERROR_REASON_ACCOUNT_STATE_CONFLICT,
        "The account is not paused, but active.",
    )


def test_a_database_that_is_away_is_worth_another_try() -> None:
    assert failure(StoreUnavailableError("the database did not answer")).retry_after_s == 2.0
    assert failure(EntriesRefusedError(lease_ids=frozenset(), turn_ids=frozenset(), evidence=1)).retry_after_s is None


def test_what_control_refuses_rises_as_a_failure() -> None:
    with pytest.raises(RpcFailure) as caught, told_as_failures():
        raise errors.StaleEpochError("This ticket has lapsed.")

    assert caught.value.reason == reasons_pb2.ERROR_REASON_STALE_EPOCH
