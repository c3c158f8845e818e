"""Modules that are kept out."""

from __future__ import annotations

import importlib
import sys

import pytest

from codex_lb.kit.left_out import left_out

MODULE = "wave"  # of the standard library, and loaded by nobody else


def test_a_module_that_is_left_out_can_be_had_afterwards() -> None:
    sys.modules.pop(MODULE, None)
    with left_out(MODULE), pytest.raises(ImportError):
        importlib.import_module(MODULE)

    assert importlib.import_module(MODULE).__name__ == MODULE


def test_one_that_is_there_already_stays() -> None:
    there = importlib.import_module(MODULE)

    with left_out(MODULE):
        assert importlib.import_module(MODULE) is there
    assert sys.modules[MODULE] is there
