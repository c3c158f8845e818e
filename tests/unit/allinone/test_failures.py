"""What ends a command with a sentence, and what with a traceback."""

from __future__ import annotations

import errno

import pytest

from codex_lb.allinone.data_dir import DataDirError
from codex_lb.allinone.failures import sentence_of
from codex_lb.control.errors import MigrationError, WrongKeyError
from codex_lb.kit.settings import ConfigurationError
from codex_lb.kit.sockets import PortTakenError


@pytest.mark.parametrize("kind", [ConfigurationError, DataDirError, MigrationError, PortTakenError, WrongKeyError])
def test_what_an_operator_can_mend_is_a_sentence(kind: type[Exception]) -> None:
    assert sentence_of(kind("Do this.")) == "Do this."


def test_a_sentence_is_found_inside_the_groups_of_task_groups() -> None:
    grouped = ExceptionGroup("tasks", [ExceptionGroup("tasks", [PortTakenError("Take another.")])])

    assert sentence_of(grouped) == "Take another."


def test_a_full_disk_is_a_sentence() -> None:
    assert sentence_of(OSError(errno.ENOSPC, "No space left on device")) == "The disk is full."


@pytest.mark.parametrize("error", [RuntimeError("?"), OSError("?"), ExceptionGroup("two", [KeyError(), KeyError()])])
def test_what_nobody_foresaw_keeps_its_traceback(error: Exception) -> None:
    assert sentence_of(error) is None
