"""Requests and answers as clients write and read them."""

from __future__ import annotations

import json
from typing import Any


def codex_turn(text: str = "hi", **more: object) -> dict[str, object]:
    """What Codex sends, in short."""
    content = [{"type": "input_text", "text": text}]
    return {
        "model": "gpt-5.5",
        "input": [{"type": "message", "role": "user", "content": content}],
        "stream": True,
        "store": False,
        "include": ["reasoning.encrypted_content"],
        **more,
    }


def events_of(stream: bytes) -> list[dict[str, Any]]:
    """The JSON events of a stream with LF line ends, `[DONE]` and comments left out."""
    data = [line[6:] for line in stream.split(b"\n") if line.startswith(b"data: ")]
    return [json.loads(one) for one in data if one != b"[DONE]"]
