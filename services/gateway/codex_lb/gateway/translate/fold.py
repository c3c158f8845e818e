"""Folds an event stream into the one object a client that did not ask for a stream gets. Pure."""

from __future__ import annotations

import msgspec

Members = dict[str, msgspec.Raw]


class ItemDone(msgspec.Struct):
    """A `response.output_item.done` event."""

    item: msgspec.Raw
    output_index: int = 0


class Terminal(msgspec.Struct):
    """A terminal event with its response kept as members."""

    response: Members


class Fold:
    """Collects finished output items; the terminal event often comes with an empty `output`."""

    def __init__(self) -> None:
        self._items: list[tuple[int, int, msgspec.Raw]] = []

    def add_item(self, data: bytes) -> None:
        """Takes an item in; one that cannot be read is left out."""
        try:
            done = msgspec.json.decode(data, type=ItemDone)
        except (msgspec.DecodeError, RecursionError):
            return
        self._items.append((done.output_index, len(self._items), done.item.copy()))

    def response(self, data: bytes) -> bytes:
        """The response object of a terminal event, its output filled in. Raises msgspec.DecodeError."""
        members = msgspec.json.decode(data, type=Terminal).response
        output = bytes(members.get("output", b"[]"))
        if self._items and output.replace(b" ", b"") in (b"[]", b"null"):
            items = [item for _, _, item in sorted(self._items, key=lambda entry: entry[:2])]
            members["output"] = msgspec.Raw(msgspec.json.encode(items))
        return msgspec.json.encode(members)
