"""How many files travel in one request."""

from __future__ import annotations

from codex_lb.allinone.admin.files import batches
from codex_lb.api.admin.v1.account_service_pb2 import AuthFile


def test_files_travel_in_order_in_requests_of_bounded_size() -> None:
    files = [AuthFile(display_name=str(size), content=b"x" * size) for size in (4, 4, 4, 20, 1)]

    requests = [[file.display_name for file in batch] for batch in batches(files, bytes_max=10)]

    assert requests == [["4", "4"], ["4"], ["20"], ["1"]]


def test_nothing_to_import_is_no_request() -> None:
    assert list(batches([], bytes_max=10)) == []
