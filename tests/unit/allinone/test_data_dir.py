"""Where the socket of a data folder is."""

from __future__ import annotations

import os
from pathlib import Path

from codex_lb.allinone.data_dir import SOCKET_PATH_BYTES_MAX, socket_path


def test_the_socket_is_in_the_data_folder() -> None:
    assert socket_path(Path("/home/me/.codex-lb")) == Path("/home/me/.codex-lb/control.sock")


def test_a_path_that_no_socket_can_have_is_replaced_by_a_short_one_of_that_folder_alone() -> None:
    first, again, other = (socket_path(Path("/") / ("deep/" * 30) / name) for name in ("a", "a", "b"))

    assert len(os.fsencode(first)) <= SOCKET_PATH_BYTES_MAX
    assert first == again != other
    assert first.parent == Path(f"/tmp/codex-lb-{os.geteuid()}")
