"""The models the pool can serve, and which plans offer them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class CatalogModel:
    """One model: upstream's entry as JSON bytes, kept whole, and the plans that list it."""

    slug: str
    entry_json: bytes
    plans: frozenset[str]


@dataclass(frozen=True, slots=True)
class Catalog:
    """All models of the pool in upstream's order."""

    models: tuple[CatalogModel, ...] = ()
    by_slug: Mapping[str, CatalogModel] = field(default_factory=dict)
    etag: str = ""

    @property
    def plans(self) -> frozenset[str]:
        """Plans whose list is known."""
        return frozenset().union(*(model.plans for model in self.models))

    def offers(self, plan: str, model: str) -> bool:
        """Whether a plan may be asked for a model. A model nobody lists is asked for: upstream then says what it is."""
        listed = self.by_slug.get(model)
        return listed is None or plan in listed.plans


def catalog_of(by_plan: Mapping[str, Iterable[tuple[str, bytes]]]) -> Catalog:
    """One catalog out of what each plan lists, as (slug, entry); the first plan by name wins for a shared entry."""
    entries: dict[str, bytes] = {}
    plans: dict[str, set[str]] = {}
    for plan in sorted(by_plan):
        for slug, entry in by_plan[plan]:
            entries.setdefault(slug, entry)
            plans.setdefault(slug, set()).add(plan)
    models = tuple(CatalogModel(slug, entry, frozenset(plans[slug])) for slug, entry in entries.items())
    digest = hashlib.sha256()
    for model in models:
        digest.update(b"\0".join([model.slug.encode(), model.entry_json, ",".join(sorted(model.plans)).encode()]))
    etag = f'W/"{digest.hexdigest()[:16]}"' if models else ""
    return Catalog(models, {m.slug: m for m in models}, etag)
