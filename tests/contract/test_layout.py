"""The house keeps its shape: one namespace over several roots, protobuf in the faces, docs that are true."""

from __future__ import annotations

import ast
import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted((ROOT / "services").rglob("*.py"))
FACES = (
    "control/rpcs/",
    "control/admin/",
    "gateway/leasing/",
    "usage_worker/tickets.py",
    "usage_worker/app.py",
    "control/assembly/",
    "control/web/",
    "allinone/admin/",
    "allinone/check.py",
    "kit/rpc_",
)


def test_no_root_hides_the_others() -> None:
    stray = [path for path in ROOT.glob("**/codex_lb/__init__.py") if ".venv" not in path.parts]

    assert stray == []


def test_generated_contracts_are_imported_by_the_faces_only() -> None:
    importers = {
        str(path.relative_to(ROOT))
        for path in SOURCES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("codex_lb.api")
    }

    strangers = {path for path in importers if not any(face in path for face in FACES)}
    assert strangers == set()


def test_every_room_a_walk_names_is_there() -> None:
    named = re.findall(
        r"`((?:gateway|control|usage_worker|allinone|kit|proto)/[\w/.]+)`", (ROOT / "docs/walks.md").read_text()
    )
    roots = {
        "gateway": "services/gateway/codex_lb",
        "control": "services/control/codex_lb",
        "usage_worker": "services/usage-worker/codex_lb",
        "allinone": "services/allinone/codex_lb",
        "kit": "services/kit/codex_lb",
        "proto": ".",
    }

    missing = [name for name in named if not (ROOT / roots[name.split("/")[0]] / name).exists()]

    assert len(named) > 40
    assert missing == []


def test_every_link_between_documents_leads_somewhere() -> None:
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *(ROOT / "docs").rglob("*.md")]

    broken = [
        f"{document.name} -> {target}"
        for document in documents
        for target in re.findall(r"\]\((?!https?:)([^)#]+)", document.read_text())
        if not (document.parent / target).exists()
    ]

    assert broken == []


def test_every_dependency_has_its_reason() -> None:
    declared = re.findall(
        r'^    "([a-z0-9-]+)', (ROOT / "pyproject.toml").read_text().split("[project.scripts]")[0], re.M
    )
    reasons = (ROOT / "docs/dependencies.md").read_text()

    assert [name for name in declared if name.removeprefix("grpcio-") not in reasons] == []


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200
