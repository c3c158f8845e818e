"""The model list: entries are kept byte by byte, and those nobody could ask for are left out."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from structlog.testing import capture_logs

from codex_lb.usage_worker.models import parse_models
from codex_lb.usage_worker.work import Failure, ListedModel, ModelsFound

members = st.dictionaries(
    st.text(max_size=8).filter(lambda name: name != "slug"),
    st.recursive(st.none() | st.integers(-(2**63), 2**63) | st.text(), st.lists, max_leaves=5),
)


def test_an_entry_keeps_every_byte_that_upstream_sent() -> None:
    entry = b'{ "slug" : "gpt-5.5",\n "context_window":2.72e5, "n\\u0061me": "\xc3\xa9", "new_member": {"x":[1, 2 ]} }'

    found = parse_models(200, b'{"etag":"x", "models":[\n  ' + entry + b"\t]}")

    assert found == ModelsFound((ListedModel("gpt-5.5", entry),))


@given(st.lists(members, max_size=5))
def test_entries_come_back_in_upstreams_order_with_all_their_members(entries: list[dict[str, object]]) -> None:
    sent = [msgspec.json.encode({**entry, "slug": f"m{n}"}) for n, entry in enumerate(entries)]

    found = parse_models(200, b'{"models":[' + b",".join(sent) + b"]}")

    assert found == ModelsFound(tuple(ListedModel(f"m{n}", entry) for n, entry in enumerate(sent)))


def test_entries_without_a_slug_are_skipped_with_a_warning() -> None:
    body = b'{"models":[{"display_name":"?"},{"slug":""},{"slug":3},7,{"slug":"gpt-5.5"}]}'

    with capture_logs() as lines:
        found = parse_models(200, body)

    assert found == ModelsFound((ListedModel("gpt-5.5", b'{"slug":"gpt-5.5"}'),))
    assert [(line["log_level"], line["skipped"]) for line in lines] == [("warning", 4)]


def test_a_list_that_is_empty_is_an_empty_catalog() -> None:
    assert parse_models(200, b'{"models":[]}') == ModelsFound(())


@pytest.mark.parametrize(
    "body", [b"", b"[]", b"{}", b'{"models":null}', b'{"models":{}}', b'{"models":[{}]}', b"<html>", b"[" * 100_000]
)
def test_an_answer_without_a_usable_list_is_a_failure_that_may_pass(body: bytes) -> None:
    failure = parse_models(200, body)

    assert isinstance(failure, Failure)
    assert (failure.code, failure.is_transient) == ("invalid_response", True)


@given(st.binary())
def test_whatever_comes_is_a_list_or_a_failure(body: bytes) -> None:
    assert isinstance(parse_models(200, body), ModelsFound | Failure)
