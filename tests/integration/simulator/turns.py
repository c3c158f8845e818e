"""What the tests of this folder say to the simulator, and how they read its answers."""

from collections.abc import Iterator
from typing import Any

import httpx
import msgspec

from tests.support.upstream import SimAccount

RESPONSES = "/backend-api/codex/responses"


def a_turn(prompt: str = "hello", **more: Any) -> dict[str, Any]:
    """A body that upstream accepts."""
    message = {"type": "message", "role": "user", "content": [{"type": "input_text", "text": prompt}]}
    return {"model": "gpt-5.5", "stream": True, "store": False, "input": [message], **more}


def signed(account: SimAccount, **more: str) -> dict[str, str]:
    """The headers of the account."""
    return {"authorization": f"Bearer {account.access_token}", "chatgpt-account-id": account.account_id, **more}


async def create(client: httpx.AsyncClient, account: SimAccount, prompt: str = "hello", **more: Any) -> httpx.Response:
    """One turn, read to its end."""
    return await client.post(RESPONSES, headers=signed(account), json=a_turn(prompt, **more))


def events(answer: bytes) -> list[dict[str, Any]]:
    """The events of a stream."""
    return list(_events(answer))


def kinds(answer: bytes) -> list[str]:
    """Their types."""
    return [event["type"] for event in events(answer)]


def items(answer: bytes) -> list[dict[str, Any]]:
    """The finished output items."""
    return [event["item"] for event in events(answer) if event["type"] == "response.output_item.done"]


def _events(answer: bytes) -> Iterator[dict[str, Any]]:
    for block in answer.split(b"\n\n"):
        for line in block.splitlines():
            if line.startswith(b"data: "):
                yield msgspec.json.decode(line.removeprefix(b"data: "), type=dict[str, Any])
