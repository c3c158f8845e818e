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


@given(st.dictionaries(st.text(min_size=1, max_size=8).map("x_{}".format), st.none() | st.integers()))
def test_members_nobody_knows_stay(members: dict[str, object]) -> None:
    raw = {"slug": "m", **members}

    entry = complete_entry(ListedModel("m", json.dumps(raw).encode()))

    assert entry is not None
    assert {k: v for k, v in entry.items() if k in raw} == {k: v for k, v in raw.items() if k in entry}
    assert set(entry) == {*raw, "display_name", "max_context_window", *REQUIRED_BY_CODEX}


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


def test_a_bare_entry_claims_little() -> None:
    entry = openai(model("bare"))["bare"]

    assert (entry["supports_reasoning"], entry["supports_images"], entry["context_length"]) == (False, False, 272_000)
    assert entry["capabilities"]["input_modalities"] == ["text"]  # type: ignore[index]


def test_the_catalog_holds_both_lists() -> None:
    made = json.loads(documents((model("a"),), frozenset(), CREATED).catalog)

    assert [e["slug"] for e in made["models"]] == [e["id"] for e in made["data"]] == ["a"]
    assert made["object"] == "list"


WRONG: dict[str, object] = {
    "slug": 7, "display_name": None, "priority": "high", "supported_in_api": 1, "supported_reasoning_levels": "all",
    "truncation_policy": {"mode": "tokens"}, "context_window": "272000", "input_modalities": {"text": True},
    "visibility": "sometimes", "default_reasoning_level": "heroic", "base_instructions": ["a"],
}  # fmt: skip


def test_a_member_of_the_wrong_type_does_not_break_the_list() -> None:
    (entry,) = catalog(ListedModel("m", json.dumps(WRONG).encode()))

    assert (entry["slug"], entry["display_name"]) == ("m", "m")
    assert all(type(entry[name]) is type(default) for name, default in REQUIRED_BY_CODEX.items() if default is not None)
    assert entry["truncation_policy"] == REQUIRED_BY_CODEX["truncation_policy"]


@given(
    st.dictionaries(
        st.sampled_from([*REQUIRED_BY_CODEX, "slug", "max_context_window"]),
        st.none()
        | st.booleans()
        | st.integers()
        | st.text(max_size=3)
        | st.lists(st.none() | st.dictionaries(st.just("effort"), st.text(max_size=2)), max_size=2),
    )
)
def test_no_entry_breaks_the_lists(members: dict[str, object]) -> None:
    (entry,) = catalog(ListedModel("m", json.dumps({**members, "supported_in_api": True}).encode()))

    for name, default in REQUIRED_BY_CODEX.items():
        assert default is None or type(entry[name]) is type(default)


def test_only_efforts_that_codex_knows_are_listed() -> None:
    levels = [{"effort": "low"}, {"effort": "heroic"}, {"effort": "ultra", "description": "most", "new": 1}, "high"]

    (entry,) = catalog(model("m", supported_reasoning_levels=levels, default_reasoning_level="low"))

    assert entry["supported_reasoning_levels"] == [
        {"effort": "low", "description": ""},
        {"effort": "ultra", "description": "most", "new": 1},
    ]
    assert entry["default_reasoning_level"] == "low"


def test_a_model_outside_the_api_is_offered_if_codexs_own_shell_can_drive_it() -> None:
    models = (
        model("shell", supported_in_api=False, shell_type="shell_command"),
        model("other", supported_in_api=False, shell_type="local"),
        model("open", supported_in_api=True, shell_type="local"),
    )

    assert [e["slug"] for e in catalog(*models)] == ["shell", "open"]


@pytest.mark.parametrize(
    ("base", "largest", "wanted", "context"),
    [
        (272_000, 1_000_000, 400_000, 400_000),
        (272_000, 400_000, 500_000, 400_000),
        (272_000, 272_000, 500_000, 500_000),
        (272_000, None, 100_000, 100_000),
    ],
    ids=["room", "clamped", "upstream names no larger one", "smaller"],
)
def test_the_operator_may_state_a_context_window(base: int, largest: int | None, wanted: int, context: int) -> None:
    models = (model("m", context_window=base, max_context_window=largest), model("other", context_window=5))

    made = json.loads(documents(models, frozenset(), CREATED, (("m", wanted),)).catalog)["models"]

    assert [e["context_window"] for e in made] == [context, 5]
    assert made[0]["max_context_window"] >= context


def test_the_etag_is_that_of_what_the_caller_sees() -> None:
    models = (model("a"), model("b"))

    whole = documents(models, frozenset(), CREATED).etag

    assert whole == documents(models, frozenset(), CREATED + 3600).etag
    assert (
        len({whole, documents(models, frozenset({"a"}), CREATED).etag, documents((), frozenset(), CREATED).etag}) == 3
    )
