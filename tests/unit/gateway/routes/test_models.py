"""The lists of models: complete enough for Codex, which reads all or nothing, and no more than a key may use."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.gateway.leasing.policy import ListedModel
from codex_lb.gateway.routes.models import REQUIRED_BY_CODEX, complete_entry, documents

CREATED = 1_777_896_000


def model(slug: str, **members: object) -> ListedModel:
    return ListedModel(slug, json.dumps({"slug": slug, **members}).encode())


def catalog(*models: ListedModel, allowed: frozenset[str] = frozenset()) -> list[dict[str, object]]:
    listed = json.loads(documents(models, allowed, CREATED).catalog)["models"]
    assert isinstance(listed, list)
    return listed


def openai(*models: ListedModel, allowed: frozenset[str] = frozenset()) -> dict[str, dict[str, object]]:
    made = json.loads(documents(models, allowed, CREATED).openai)
    assert made["object"] == "list"
    return {entry["id"]: entry for entry in made["data"]}


@pytest.mark.parametrize("name", REQUIRED_BY_CODEX)
@pytest.mark.parametrize("missing", [{}, None])
def test_an_entry_without_what_codex_insists_on_is_completed(name: str, missing: object) -> None:
    members = {} if missing == {} else {name: None}

    (entry,) = catalog(model("gpt-5.5", **members))

    assert entry[name] == REQUIRED_BY_CODEX[name]


def test_what_upstream_says_outranks_the_default() -> None:
    policy = {"mode": "bytes", "limit": 5}

    (entry,) = catalog(model("gpt-5.2", truncation_policy=policy, experimental_supported_tools=["x"]))

    assert (entry["truncation_policy"], entry["experimental_supported_tools"]) == (policy, ["x"])


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.none() | st.integers() | st.lists(st.text(max_size=3))))
def test_members_nobody_knows_stay(members: dict[str, object]) -> None:
    raw = {"slug": "m", **members}

    entry = complete_entry(ListedModel("m", json.dumps(raw).encode()))

    assert entry is not None
    assert {k: v for k, v in entry.items() if k in raw} == {k: v for k, v in raw.items() if k in entry}
    assert set(entry) == {*raw, *REQUIRED_BY_CODEX}


@pytest.mark.parametrize("raw", [b"", b"{", b"[]", b"null", b"\xff", b'{"slug":"\xff"}', b'{"a":' * 99_999])
def test_an_entry_that_cannot_be_read_is_left_out_and_breaks_no_other(raw: bytes) -> None:
    assert [e["slug"] for e in catalog(ListedModel("bad", raw), model("good"))] == ["good"]


def test_a_key_sees_the_models_it_may_use() -> None:
    models = (model("a"), model("b"), model("c"))

    assert [e["slug"] for e in catalog(*models)] == ["a", "b", "c"]
    assert [e["slug"] for e in catalog(*models, allowed=frozenset({"c", "a", "gone"}))] == ["a", "c"]
    assert list(openai(*models, allowed=frozenset({"b"}))) == ["b"]
    assert catalog(*models, allowed=frozenset({"gone"})) == []


def test_a_hidden_model_is_for_codex_only() -> None:
    models = (model("shown", visibility="list"), model("hidden", visibility="hide"), model("silent"))

    assert len(catalog(*models)) == 3
    assert list(openai(*models)) == ["shown", "silent"]


def test_an_openai_entry_says_what_other_clients_look_for() -> None:
    entry = openai(
        model(
            "gpt-5.5",
            display_name="GPT-5.5",
            context_window=272_000,
            input_modalities=["text", "image"],
            supported_reasoning_levels=[{"effort": "low"}],
        )
    )["gpt-5.5"]

    assert (entry["object"], entry["created"], entry["owned_by"]) == ("model", CREATED, "codex-lb")
    assert (entry["context_length"], entry["supports_reasoning"], entry["supports_images"]) == (272_000, True, True)
    assert entry["metadata"]["display_name"] == "GPT-5.5"  # type: ignore[index]


def test_a_bare_entry_claims_nothing() -> None:
    entry = openai(model("bare"))["bare"]

    assert (entry["supports_reasoning"], entry["supports_images"], entry["context_length"]) == (False, False, None)
    assert entry["capabilities"]["input_modalities"] == ["text"]  # type: ignore[index]


def test_the_catalog_holds_both_lists() -> None:
    made = json.loads(documents((model("a"),), frozenset(), CREATED).catalog)

    assert [e["slug"] for e in made["models"]] == [e["id"] for e in made["data"]] == ["a"]
    assert made["object"] == "list"
