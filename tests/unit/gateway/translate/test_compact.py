"""A compaction is a turn whose last item asks for one."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.gateway.errors import InvalidRequestError, UpstreamFailedError
from codex_lb.gateway.translate.compact import DROPPED, compaction_answer, compaction_body

TRIGGER = {"type": "compaction_trigger"}
ITEM = {"type": "compaction", "id": "cmp_1", "encrypted_content": "secret", "new": 1}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=4), inner, max_size=3),
    max_leaves=8,
)


@given(st.dictionaries(st.text(max_size=8), JSON, max_size=6), st.lists(JSON, max_size=4))
def test_all_but_what_a_compaction_has_no_use_for_is_kept(members: dict[str, object], items: list[object]) -> None:
    asked = {**members, "input": items, "tools": [], "text": {}, "client_metadata": {}}

    made = json.loads(compaction_body(json.dumps(asked).encode()))

    is_asked = bool(items) and isinstance(items[-1], dict) and items[-1].get("type") == "compaction_trigger"
    assert made["input"] == (items if is_asked else [*items, TRIGGER])
    assert (made["stream"], made["store"], made["parallel_tool_calls"]) == (True, False, False)
    fixed = {"input", "stream", "store", "parallel_tool_calls"}
    assert {k: v for k, v in made.items() if k not in fixed} == {
        k: v for k, v in members.items() if k not in fixed | DROPPED
    }


def test_a_trigger_that_is_there_is_not_doubled() -> None:
    made = json.loads(compaction_body(json.dumps({"input": [{"a": 1}, TRIGGER]}).encode()))

    assert made["input"] == [{"a": 1}, TRIGGER]


@pytest.mark.parametrize("given_input", [None, "text", {}, 7])
def test_an_input_that_is_no_list_is_refused(given_input: object) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        compaction_body(json.dumps({"input": given_input}).encode())

    assert refused.value.param == "input"


def test_codex_gets_the_item_alone_and_the_sdks_get_everything() -> None:
    response = json.dumps({
        "id": "resp_1", "object": "response", "created_at": 1, "status": "completed", "usage": {"total_tokens": 3},
        "output": [{"type": "message"}, ITEM], "instructions": "long",
    }).encode()  # fmt: skip

    narrow = json.loads(compaction_answer(response, is_narrow=True))
    whole = json.loads(compaction_answer(response, is_narrow=False))

    assert narrow == {
        "object": "response.compaction",
        "id": "resp_1",
        "created_at": 1,
        "status": "completed",
        "usage": {"total_tokens": 3},
        "output": [{"type": "compaction", "encrypted_content": "secret", "id": "cmp_1"}],
    }
    assert whole == {**json.loads(response), "object": "response.compaction"}


@pytest.mark.parametrize(
    "response", [b"", b"[]", b"{}", b'{"output":null}', b'{"output":[]}', b'{"output":[7,{"type":"message"}]}']
)
@pytest.mark.parametrize("is_narrow", [True, False])
def test_an_answer_without_the_item_is_a_502(response: bytes, is_narrow: bool) -> None:
    with pytest.raises(UpstreamFailedError, match="did not include a compaction") as failed:
        compaction_answer(response, is_narrow=is_narrow)

    assert (failed.value.status, failed.value.code) == (502, "upstream_error")
