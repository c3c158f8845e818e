"""What a conversation is known by."""

from __future__ import annotations

import json

import msgspec
import pytest

from codex_lb.gateway.continuity.classify import ANCHORS_MAX, anchors_in, classify, digest_of, without
from codex_lb.gateway.errors import InvalidRequestError
from codex_lb.gateway.leasing.lease import AnchorKind
from codex_lb.gateway.sealed import Sealed

Item = dict[str, object]


def user(text: str) -> Item:
    return {"type": "message", "role": "user", "content": text}


def assistant(text: str) -> Item:
    return {"type": "message", "role": "assistant", "content": text}


def call(call_id: str) -> Item:
    return {"type": "function_call", "call_id": call_id, "name": "f", "arguments": "{}"}


def result(call_id: str) -> Item:
    return {"type": "function_call_output", "call_id": call_id, "output": "ok"}


def body_of(*items: Item, instructions: str = "be brief", **more: object) -> bytes:
    return json.dumps({"instructions": instructions, "input": items, **more}).encode()


def keys_of(*items: Item, instructions: str = "be brief", **more: object) -> tuple[bytes, ...]:
    return classify([], body_of(*items, instructions=instructions, **more)).affinity_keys


def test_the_clients_own_ids_come_first_the_narrowest_before_the_others() -> None:
    headers = [(b"session-id", b"session"), (b"x-session-id", b"other"), (b"thread-id", b"thread")]

    keys = classify(headers, b'{"prompt_cache_key":"k","input":[]}').affinity_keys

    assert keys == tuple(b"s" + digest_of(value) for value in (b"thread", b"session", b"other"))


def test_a_cache_key_names_the_conversation_where_no_header_does() -> None:
    assert keys_of(user("hi"), prompt_cache_key=" k ") == (b"c" + digest_of(b"k"),)


def test_a_request_is_known_by_the_one_before_it() -> None:
    first = keys_of(user("one"))
    second = keys_of(user("one"), assistant("1"), user("two"))
    third = keys_of(user("one"), assistant("1"), user("two"), call("c"), result("c"))

    assert second[1] == first[0]
    assert third[1] == second[0]
    assert third[-1] == first[0]


def test_conversations_that_begin_alike_are_told_apart_once_they_differ() -> None:
    one = keys_of(user("hi"), assistant("hello"), user("about cats"))
    other = keys_of(user("hi"), assistant("hello"), user("about dogs"))

    assert one[0] != other[0]
    assert one[-1] == other[-1]


def test_a_request_that_failed_is_known_again_when_its_client_says_something_else_instead() -> None:
    asked = classify([], body_of(user("a"), assistant("b"), user("c")))
    asked_anew = classify([], body_of(user("a"), assistant("b"), user("c"), user("d")))
    named = classify([(b"thread-id", b"t"), (b"session_id", b"s")], body_of(user("a")))

    assert set(asked.failure_keys) & set(asked_anew.affinity_keys)
    assert len(named.failure_keys) == 1  # other threads of the session did not fail


def test_a_request_with_only_what_is_new_has_the_keys_of_the_whole_conversation() -> None:
    first = classify([], body_of(user("one")))
    second = classify([], body_of(user("two")), behind=first.chain)
    third = classify([], body_of(result("c")), behind=second.chain)

    whole = keys_of(user("one"), assistant("1"), user("two"), call("c"), result("c"))
    assert third.affinity_keys == whole


def test_what_the_model_said_does_not_change_who_is_talking() -> None:
    assert keys_of(user("one"), assistant("1"), user("two")) == keys_of(user("one"), assistant(" 1"), user("two"))


def test_thoughts_do_not_change_who_is_talking() -> None:
    thought: Item = {"type": "reasoning", "summary": [], "encrypted_content": "gAAAAAB" + "x" * 40}

    with_thought = keys_of(user("one"), thought, assistant("1"), user("two"))

    assert with_thought == keys_of(user("one"), assistant("1"), user("two"))


def test_other_instructions_are_another_conversation() -> None:
    assert not set(keys_of(user("hi"))) & set(keys_of(user("hi"), instructions="be long"))


def test_a_long_conversation_is_known_by_its_last_steps_and_its_beginning() -> None:
    items = [item for n in range(20) for item in (user(f"q{n}"), assistant(f"a{n}"))]

    keys = keys_of(*items, user("last"))

    assert len(keys) == 4
    assert keys[-1] == keys_of(user("q0"))[0]
    assert keys[1] == keys_of(*items[:-1])[0]


def test_what_cannot_be_read_has_no_keys_and_text_is_a_beginning() -> None:
    assert classify([], b"{").affinity_keys == ()
    assert len(classify([], b'{"input":"hi"}').affinity_keys) == 1


THOUGHT, OTHER, BLOB = "t" * 20, "o" * 20, "b" * 20


def sealed(text: str, kind: str = "reasoning") -> Item:
    return {"type": kind, "encrypted_content": text}


def digests(data: bytes, kind: AnchorKind) -> list[bytes]:
    return [anchor.digest for anchor in anchors_in(data) if anchor.kind is kind]


def test_what_is_sealed_is_known_wherever_it_stands_the_newest_last() -> None:
    tool = {"type": "custom_tool_call", "input": [sealed(OTHER), "text", None, 1.5, [sealed("in a list" * 4)]]}
    event = {"type": "response.output_item.done", "item": sealed(BLOB, "compaction")}

    assert digests(body_of(user("a"), sealed(THOUGHT), tool), AnchorKind.REASONING) == [
        digest_of(THOUGHT.encode()),
        digest_of(OTHER.encode()),
    ]
    assert digests(json.dumps(event).encode(), AnchorKind.COMPACTION) == [digest_of(BLOB.encode())]
    assert digests(json.dumps(sealed(THOUGHT)).encode(), AnchorKind.REASONING) == [digest_of(THOUGHT.encode())]


def test_of_many_the_newest_count() -> None:
    many = body_of(*(sealed(f"{n:032}") for n in range(ANCHORS_MAX + 3)))

    assert digests(many, AnchorKind.REASONING) == [digest_of(f"{n:032}".encode()) for n in range(3, ANCHORS_MAX + 3)]


@pytest.mark.parametrize(
    "odd",
    [
        b'{"type":"custom_tool_call","input":1e999}',
        b'{"type":"custom_tool_call","input":"\xff"}',
        b'{"type":"\xff"}',
        b"[1]",
    ],
)
def test_what_cannot_be_read_hides_nothing_but_itself(odd: bytes) -> None:
    data = b'{"input":[%b,%b]}' % (odd, json.dumps(sealed(BLOB, "compaction")).encode())
    event = b'{"item":{"input":[%b],"encrypted_content":"%b"}}' % (odd, THOUGHT.encode())

    assert digests(data, AnchorKind.COMPACTION) == [digest_of(BLOB.encode())]
    assert len(anchors_in(event)) == 1


def test_an_input_that_is_no_list_is_not_looked_into() -> None:
    assert anchors_in(json.dumps({"input": sealed(THOUGHT)}).encode()) == ()


@pytest.mark.parametrize("body", [b'{"\xff":1,"input":[]}', b'{"input":{}}', b"{}", b"{"])
def test_a_body_that_cannot_be_taken_apart_goes_nowhere_with_its_thoughts(body: bytes) -> None:
    with pytest.raises(InvalidRequestError):
        without(body, frozenset({digest_of(THOUGHT.encode())}))


def test_an_item_with_an_odd_type_is_the_clients() -> None:
    assert len(classify([], b'{"input":[{"type":[]}]}').affinity_keys) == 1


def test_what_only_looks_sealed_is_not() -> None:
    quoted = user(json.dumps(sealed(THOUGHT)))
    odd = [sealed("short"), {"type": "reasoning", "encrypted_content": 7}, {"encrypted_content": None}]

    assert anchors_in(body_of(quoted, *odd)) == ()
    assert anchors_in(b'{"encrypted_content":') == ()


def test_files_are_known_by_their_ids_however_deep_they_stand() -> None:
    part = {"type": "input_file", "file_id": "file-1"}
    body = body_of({"role": "user", "content": [part, {"type": "input_text", "text": '"file_id": "no"'}]})

    assert digests(body, AnchorKind.FILE) == [digest_of(b"file-1")]
    many = body_of(*({"file_id": f"file-{n}"} for n in range(ANCHORS_MAX + 3)))
    assert digests(many, AnchorKind.FILE) == [digest_of(f"file-{n}".encode()) for n in range(3, ANCHORS_MAX + 3)]
    assert anchors_in(b'{"file_id"}') == ()


def test_a_body_that_was_read_before_says_the_same() -> None:
    body = body_of(user("a"), sealed(THOUGHT), sealed(BLOB, "compaction"))

    read = msgspec.json.decode(body, type=Sealed).input

    assert classify([], body, items=read).anchors == classify([], body).anchors != ()
