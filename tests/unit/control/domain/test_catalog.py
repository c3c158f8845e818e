"""The models of the pool."""

from __future__ import annotations

from codex_lb.control.domain.catalog import Catalog, catalog_of


def test_models_are_joined_over_plans_in_upstreams_order() -> None:
    catalog = catalog_of({"plus": [("b", b"1"), ("a", b"2")], "pro": [("c", b"3"), ("b", b"4")]})

    assert [(m.slug, m.entry_json, sorted(m.plans)) for m in catalog.models] == [
        ("b", b"1", ["plus", "pro"]),
        ("a", b"2", ["plus"]),
        ("c", b"3", ["pro"]),
    ]
    assert catalog.plans == {"plus", "pro"}


def test_a_listed_model_is_offered_by_its_plans_only_and_an_unlisted_one_by_all() -> None:
    catalog = catalog_of({"pro": [("big", b"{}")]})

    assert catalog.offers("pro", "big")
    assert not catalog.offers("plus", "big")
    assert catalog.offers("plus", "brand-new")


def test_the_etag_changes_with_the_list_and_only_with_it() -> None:
    one, same, other = ({"plus": [("a", entry)]} for entry in (b"1", b"1", b"2"))

    assert catalog_of(one).etag == catalog_of(same).etag != catalog_of(other).etag
    assert catalog_of({}) == Catalog()
