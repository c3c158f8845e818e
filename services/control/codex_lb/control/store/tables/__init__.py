"""The tables, one module per noun; `metadata` knows all of them."""

from codex_lb.control.store.tables.accounts import accounts, credentials
from codex_lb.control.store.tables.alerts import alert_deliveries, alert_targets, alerts
from codex_lb.control.store.tables.api_keys import api_key_limits, api_keys
from codex_lb.control.store.tables.catalogs import catalog_models, catalogs
from codex_lb.control.store.tables.evidence import evidence
from codex_lb.control.store.tables.exchanges import exchanges
from codex_lb.control.store.tables.key_fingerprints import key_fingerprints
from codex_lb.control.store.tables.oauth_flows import oauth_flows
from codex_lb.control.store.tables.rollups import spent_days, spent_hours, spent_names, spent_totals
from codex_lb.control.store.tables.schema import metadata
from codex_lb.control.store.tables.settings import settings
from codex_lb.control.store.tables.terms import terms
from codex_lb.control.store.tables.turns import attempts, turns
from codex_lb.control.store.tables.web_access import sign_in_links, web_sessions

__all__ = [
    "accounts",
    "alert_deliveries",
    "alert_targets",
    "alerts",
    "api_key_limits",
    "api_keys",
    "attempts",
    "catalog_models",
    "catalogs",
    "credentials",
    "evidence",
    "exchanges",
    "key_fingerprints",
    "metadata",
    "oauth_flows",
    "settings",
    "sign_in_links",
    "spent_days",
    "spent_hours",
    "spent_names",
    "spent_totals",
    "terms",
    "turns",
    "web_sessions",
]
