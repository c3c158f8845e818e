"""The images that a Responses request names by URL: found, and replaced by what was fetched. Pure.

Only the parts that are replaced are written anew; every other value keeps its bytes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Final

import msgspec

from codex_lb.gateway.errors import UNREADABLE
from codex_lb.gateway.translate.members import word, written
from codex_lb.gateway.translate.rewriting import each, members_of, with_members
from codex_lb.kit.needle import Needle

PARTS_MAX = 16  # replaced in one request
INLINED_BYTES_MAX = 64 * 2**20  # written into one request: a short one could name one large image a thousand times
URL_BYTES_MAX = 8192  # longer ones are no addresses of images, and servers refuse them
IMAGE, HTTPS = Needle(b'"input_image"'), Needle(b"https:")  # not "https://": some encoders escape slashes
HOLDERS: Final = ("content", "output")  # of messages; of what a tool answered


def image_urls(body: bytes) -> list[str]:
    """The https URLs of its images in their order, each once; none of what cannot be read."""
    seen: dict[str, None] = {}
    _rewritten(body, seen.setdefault)
    return list(seen)


def with_images(body: bytes, images: Mapping[str, str]) -> bytes:
    """The request with data URLs in place of the URLs they are known for, as far as the bounds allow."""
    parts, size = 0, 0

    def data_url_of(url: str) -> str | None:
        nonlocal parts, size
        image = images.get(url)
        if image is None or parts == PARTS_MAX or size + len(image) > INLINED_BYTES_MAX:
            return None
        parts, size = parts + 1, size + len(image)
        return image

    return _rewritten(body, data_url_of)


def _rewritten(body: bytes, replacement: Callable[[str], str | None]) -> bytes:
    """The body with the https URLs of images replaced for which there is a replacement; itself when there is none."""
    if not (IMAGE.is_in(body) and HTTPS.is_in(body)):
        return body

    def part(raw: msgspec.Raw) -> msgspec.Raw:
        members = members_of(raw)
        if members is None or word(members.get("type")) != "input_image":
            return raw
        url = _url(members.get("image_url"))
        new = replacement(url) if url[:8].lower() == "https://" else None
        return raw if new is None else written({**members, "image_url": new})

    def item(raw: msgspec.Raw) -> msgspec.Raw:
        if not IMAGE.is_in(raw):
            return raw
        return with_members(raw, HOLDERS, lambda held: each(held, part))

    request = msgspec.Raw(body)
    changed = with_members(request, ("input",), lambda items: each(items, item))
    return body if changed is request else bytes(changed)


def _url(raw: msgspec.Raw | None) -> str:
    """A string of a URL's length, empty for anything else, such as an image of megabytes."""
    if raw is None or memoryview(raw).nbytes > URL_BYTES_MAX:
        return ""
    try:
        return msgspec.json.decode(raw, type=str)
    except UNREADABLE:
        return ""
