"""The real Codex CLI over WebSocket (`supports_websockets = true`)."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.support.codex import Codex
from tests.support.system import System, start_all_in_one
from tests.support.upstream import Step, Upstream, cut_before_output, failed, limit, unauthorized

pytestmark = pytest.mark.client


async def test_codex_speaks_over_one_socket_and_nothing_falls_back(product: System, tmp_path: Path) -> None:
    await product.add("a")
    codex = Codex(tmp_path, product.base_url, is_websocket=True)

    run = await codex.exec(
        '<<tool:exec_command:{"cmd":"echo over-the-socket"}>> <<say:done>>', "--sandbox", "read-only"
    )

    assert (run.code, run.errors) == (0, [])
    assert "over-the-socket" in run.messages[-1]
    turns = await product.upstream.turns()
    assert {t.transport for t in turns} == {"websocket"}
    assert len({t.connection for t in turns}) == 1
    assert "WebSocket /backend-api/codex/responses" in product.log
    assert "POST /backend-api/codex/responses" not in product.log
    await product.settled()


@pytest.mark.parametrize(
    "step", [limit(), unauthorized(), failed("usage_limit_reached"), cut_before_output()], ids=lambda s: str(s)[:20]
)
async def test_codex_notices_nothing_of_an_account_that_fails(product: System, tmp_path: Path, step: Step) -> None:
    await product.add("bad", "good")
    await product.upstream.script("bad", then=step)
    codex = Codex(tmp_path, product.base_url, is_websocket=True)

    runs = [await codex.exec("<<say:well>>") for _ in range(3)]

    assert [(r.code, r.messages, r.errors) for r in runs] == [(0, ["well"], [])] * 3


async def test_switched_off_websockets_send_codex_to_http_without_a_word(upstream: Upstream, tmp_path: Path) -> None:
    await upstream.reset(accounts=True)
    async with start_all_in_one(upstream, tmp_path, env={"CODEX_LB_UPSTREAM_STREAM_TRANSPORT": "http"}) as product:
        await product.add("a")
        codex = Codex(tmp_path, product.base_url, is_websocket=True)

        run = await codex.exec("<<say:hello>>")

        assert (run.code, run.messages, run.errors) == (0, ["hello"], [])
        assert {t.transport for t in await product.upstream.turns()} == {"http"}
