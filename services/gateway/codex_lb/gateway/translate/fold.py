"""Folds an event stream into the one object that says what was answered. Pure."""

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
        self.continues = ""  # the response that the client continued, which upstream was not told of

    def add_item(self, data: bytes) -> None:
        """Takes an item in; one that cannot be read is left out."""
        try:
            done = msgspec.json.decode(data, type=ItemDone)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
            return
        self._items.append((done.output_index, len(self._items), done.item.copy()))

    def items(self) -> list[bytes]:
        """What was collected, in the order of the output."""
        return [bytes(item) for _, _, item in sorted(self._items, key=lambda entry: entry[:2])]

    def response(self, data: bytes) -> bytes:
        """The response object of a terminal event, its output filled in. Raises msgspec.DecodeError."""
        return msgspec.json.encode(self._filled(msgspec.json.decode(data, type=Terminal).response))

    def event(self, raw: bytes, data: bytes) -> bytes:
        """A terminal event with the output of its response filled in; as it came when there is nothing to fill in.

        The SDKs' helpers read the final answer from there, and upstream often leaves it empty.
        """
        try:
            members = msgspec.json.decode(data, type=Members)
            response = msgspec.json.decode(members["response"], type=Members)
            name = msgspec.json.decode(members["type"], type=str)
        except (msgspec.DecodeError, UnicodeDecodeError, RecursionError, KeyError):
            return raw
        filled = self._filled(response)
        if filled is response:
            return raw
        members["response"] = msgspec.Raw(msgspec.json.encode(filled))
        return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode(members) + b"\n\n"

    def _filled(self, response: Members) -> Members:
        filled = dict(response)
        if self._items and bytes(response.get("output", b"[]")).replace(b" ", b"") in (b"[]", b"null"):
            filled["output"] = msgspec.Raw(msgspec.json.encode([msgspec.Raw(item) for item in self.items()]))
        if self.continues:
            filled["previous_response_id"] = msgspec.Raw(msgspec.json.encode(self.continues))
        return response if filled == response else filled
