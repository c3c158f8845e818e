"""Requests of the Images API as Responses turns with the image tool, and their answers back. Pure.

Data-plane reference 1.16. Images stay the Base64 they are; nothing of them is decoded.
"""

from __future__ import annotations

import base64
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import msgspec

from codex_lb.gateway.errors import UNREADABLE, GatewayError, InvalidRequestError, envelope
from codex_lb.gateway.translate.members import Word, is_text, read

HOST_MODEL = "gpt-5.5"  # it calls the tool; the tool draws
LATEST = "gpt-image-2"
MODELS = (LATEST, "gpt-image-1.5", "gpt-image-1", "gpt-image-1-mini")
WITH_FIDELITY = frozenset({"gpt-image-1", "gpt-image-1.5"})
IMAGES_MAX = 16
SIZES = frozenset({"auto", "1024x1024", "1536x1024", "1024x1536"})  # of all models but the latest
INSTRUCTIONS = (
    "Call the image_generation tool exactly once. Pass the user's prompt to it as it is, with the images that came with "
    "it. Do not ask questions, do not call another tool and write no text."
)
MASK_HINT = "\n\nThe last image is a mask: change only what its transparent parts cover, and keep the rest as it is."
# What a file is, by its first bytes: clients often do not say, or say octet-stream.
MAGIC: tuple[tuple[bytes, str], ...] = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
)
DONE = b"data: [DONE]\n\n"
NUMBERS = frozenset({"n", "output_compression", "partial_images"})


class ImageFailedError(GatewayError):
    """The turn ended well, but without an image."""

    status, code, type = 502, "image_generation_failed", "server_error"

    def __init__(self, words: str = "") -> None:
        super().__init__(words or "Upstream answered without an image")


class Wishes(msgspec.Struct):
    """What is read of a request, whether it came as JSON or as a form. Unknown members are ignored."""

    prompt: Annotated[str, msgspec.Meta(min_length=1)]
    model: Word | None = None
    n: int | None = None
    size: Word | None = None
    quality: Literal["low", "medium", "high", "auto"] | None = None
    background: Literal["transparent", "opaque", "auto"] | None = None
    output_format: Literal["png", "jpeg", "webp"] | None = None
    output_compression: Annotated[int, msgspec.Meta(ge=0, le=100)] | None = None
    moderation: Literal["auto", "low"] | None = None
    partial_images: Annotated[int, msgspec.Meta(ge=0, le=3)] | None = None
    stream: bool | None = None
    input_fidelity: Literal["low", "high"] | None = None


class ImageUrl(msgspec.Struct):
    """An image of an edit in JSON."""

    image_url: str


class Images(msgspec.Struct):
    """The images of an edit in JSON."""

    images: Annotated[list[ImageUrl], msgspec.Meta(min_length=1, max_length=IMAGES_MAX)]


@dataclass(frozen=True, slots=True)
class ImageRequest:
    """A checked request."""

    model: str
    wishes: Wishes
    images: tuple[msgspec.Raw, ...] = ()  # data URLs as JSON, the mask last
    has_mask: bool = False

    @property
    def is_edit(self) -> bool:
        """Whether there is something to start from."""
        return bool(self.images)

    @property
    def is_streamed(self) -> bool:
        """Whether the client wants events."""
        return self.wishes.stream is True

    @property
    def events(self) -> str:
        """What the client's events begin with."""
        return "image_edit" if self.is_edit else "image_generation"


def read_generation(body: bytes, *, default_model: str) -> ImageRequest:
    """POST …/images/generations. Raises InvalidRequestError."""
    return _checked(read(body, Wishes), default_model)


def read_edit(body: bytes, *, default_model: str) -> ImageRequest:
    """POST …/images/edits in JSON. Raises InvalidRequestError."""
    images = []
    for image in read(body, Images).images:
        if not image.image_url.startswith("data:image/"):
            raise InvalidRequestError("Images must be data URLs", param="images")
        images.append(msgspec.Raw(msgspec.json.encode(image.image_url)))
    return _checked(read(body, Wishes), default_model, images=tuple(images))


def edit_of_form(
    fields: Mapping[str, str], images: Sequence[memoryview], mask: memoryview | None, *, default_model: str
) -> ImageRequest:
    """POST …/images/edits as a form. Raises InvalidRequestError."""
    if not 1 <= len(images) <= IMAGES_MAX:
        raise InvalidRequestError(f"1 to {IMAGES_MAX} images are required", param="image")
    urls = [_data_url(image, "image") for image in images]
    if mask is not None:
        urls.append(_data_url(mask, "mask"))
    wishes = read(msgspec.json.encode({name: _value(name, text) for name, text in fields.items()}), Wishes)
    return _checked(wishes, default_model, images=tuple(urls), has_mask=mask is not None)


def turn_body(request: ImageRequest) -> bytes:
    """The Responses request that makes the image."""
    wishes = request.wishes
    wanted = {
        "model": request.model,
        "size": wishes.size,
        "quality": wishes.quality,
        "background": wishes.background,
        "output_format": wishes.output_format,
        "output_compression": wishes.output_compression,
        "moderation": wishes.moderation,
        "partial_images": wishes.partial_images if request.is_streamed else None,
        "input_fidelity": wishes.input_fidelity if request.is_edit else None,
        "action": "edit" if request.is_edit else None,
    }
    tool = {"type": "image_generation", **{name: value for name, value in wanted.items() if value is not None}}
    text = wishes.prompt + (MASK_HINT if request.has_mask else "")
    content: list[dict[str, object]] = [{"type": "input_text", "text": text}]
    content += [{"type": "input_image", "image_url": image} for image in request.images]
    return msgspec.json.encode(
        {
            "model": HOST_MODEL,
            "instructions": INSTRUCTIONS,
            "input": [{"type": "message", "role": "user", "content": content}],
            "tools": [tool],
            "tool_choice": {"type": "image_generation"},
            "parallel_tool_calls": False,
            "store": False,
            "stream": True,
        }
    )


def _checked(
    wishes: Wishes, default_model: str, *, images: tuple[msgspec.Raw, ...] = (), has_mask: bool = False
) -> ImageRequest:
    model = wishes.model or default_model
    if model not in MODELS:
        raise InvalidRequestError(f"The model must be one of {', '.join(MODELS)}", param="model")
    if wishes.n not in (None, 1):
        raise InvalidRequestError("Only one image at a time can be made (n must be 1)", param="n")
    if wishes.size is not None and not is_size(wishes.size, model):
        raise InvalidRequestError(f"{model} cannot draw at this size", param="size")
    if wishes.background == "transparent" and model == LATEST:
        raise InvalidRequestError(f"{model} has no transparent background", param="background")
    if images and wishes.input_fidelity is not None and model not in WITH_FIDELITY:
        raise InvalidRequestError(f"{model} has no input fidelity", param="input_fidelity")
    return ImageRequest(model, wishes, images, has_mask)


_SIZE = re.compile(r"([1-9]\d{1,3})x([1-9]\d{1,3})", re.ASCII)


def is_size(size: str, model: str) -> bool:
    """Whether a model draws at a size."""
    if model != LATEST:
        return size in SIZES
    if size == "auto":
        return True
    found = _SIZE.fullmatch(size)
    if found is None:
        return False
    width, height = int(found[1]), int(found[2])
    return (
        width % 16 == height % 16 == 0
        and max(width, height) <= 3840
        and max(width, height) <= 3 * min(width, height)
        and 655_360 <= width * height <= 8_294_400
    )


def _value(name: str, text: str) -> object:
    """A form's field as JSON has it; what does not fit stays text, and is refused by name."""
    if name in NUMBERS and text.isascii() and text.isdigit() and len(text) < 10:
        return int(text)
    if name == "stream" and text.lower() in ("true", "false"):
        return text.lower() == "true"
    return text


def _data_url(content: memoryview, param: str) -> msgspec.Raw:
    head = bytes(content[:12])
    media_type = next((kind for magic, kind in MAGIC if head.startswith(magic)), "")
    if head.startswith(b"RIFF") and head.endswith(b"WEBP"):
        media_type = "image/webp"
    if not media_type:
        raise InvalidRequestError("The file is no PNG, JPEG, WebP or GIF image", param=param)
    return msgspec.Raw(b'"data:' + media_type.encode() + b";base64," + base64.b64encode(content) + b'"')


class Item(msgspec.Struct):
    """What is read of an output item."""

    type: object = None
    result: msgspec.Raw = msgspec.Raw()
    revised_prompt: object = None
    size: object = None
    quality: object = None
    background: object = None
    output_format: object = None
    content: msgspec.Raw = msgspec.Raw()


class ToolUsage(msgspec.Struct):
    """The tokens that tools used."""

    image_gen: msgspec.Raw = msgspec.Raw()


class Drawn(msgspec.Struct):
    """What is read of a finished response."""

    output: list[Item]
    created_at: object = None
    tool_usage: ToolUsage | None = None


class Said(msgspec.Struct):
    """A part of a message."""

    text: object = None
    refusal: object = None


class PartialImage(msgspec.Struct):
    """What is read of an event while the image is being made."""

    type: object = None
    partial_image_b64: msgspec.Raw = msgspec.Raw()
    partial_image_index: object = None
    size: object = None
    quality: object = None
    background: object = None
    output_format: object = None


def image_answer(response: bytes, *, created: int) -> bytes:
    """The Images API's object out of a finished response. Raises ImageFailedError."""
    drawn, item = _drawn(response)
    image: dict[str, object] = {"b64_json": item.result}
    if item.revised_prompt is not None:
        image["revised_prompt"] = item.revised_prompt
    answer: dict[str, object] = {"created": _created(drawn, created), "data": [image], **_look(item), **_usage(drawn)}
    return msgspec.json.encode(answer)


def completed_event(response: bytes, events: str, *, created: int) -> bytes:
    """The last event of a stream. Raises ImageFailedError."""
    drawn, item = _drawn(response)
    members: dict[str, object] = {
        "b64_json": item.result,
        "created_at": _created(drawn, created),
        **_look(item),
        **({} if item.revised_prompt is None else {"revised_prompt": item.revised_prompt}),
        **_usage(drawn),
    }
    return _event(f"{events}.completed", members)


def partial_event(data: bytes | str, events: str, *, created: int) -> bytes:
    """An image that is not done yet; empty for any other event."""
    try:
        seen = msgspec.json.decode(data, type=PartialImage)
    except UNREADABLE:
        return b""
    if seen.type != "response.image_generation_call.partial_image" or not is_text(seen.partial_image_b64):
        return b""
    members = {
        "b64_json": seen.partial_image_b64,
        "created_at": created,
        "partial_image_index": seen.partial_image_index,
        **_look(seen),
    }
    return _event(f"{events}.partial_image", members)


def error_event(error: GatewayError) -> bytes:
    """How a stream says that there will be no image."""
    return b'event: error\ndata: {"type":"error",' + envelope(error)[1:] + b"\n\n"


def _event(name: str, members: Mapping[str, object]) -> bytes:
    return b"event: " + name.encode() + b"\ndata: " + msgspec.json.encode({"type": name, **members}) + b"\n\n"


def _drawn(response: bytes) -> tuple[Drawn, Item]:
    try:
        drawn = msgspec.json.decode(response, type=Drawn)
    except UNREADABLE as error:
        raise ImageFailedError from error
    for item in drawn.output:
        if item.type == "image_generation_call" and is_text(item.result):
            return drawn, item
    raise ImageFailedError("".join(_words(item) for item in drawn.output)[:500])


def _words(item: Item) -> str:
    """What the model said instead: the best explanation there is."""
    if item.type != "message":
        return ""
    try:
        parts = msgspec.json.decode(item.content, type=list[Said])
    except UNREADABLE:
        return ""
    said = (part.text if part.refusal is None else part.refusal for part in parts)
    return "".join(words for words in said if isinstance(words, str))


def _created(drawn: Drawn, created: int) -> int:
    return drawn.created_at if isinstance(drawn.created_at, int) else created


def _look(of: Item | PartialImage) -> dict[str, object]:
    look = {"size": of.size, "quality": of.quality, "background": of.background, "output_format": of.output_format}
    return {name: value for name, value in look.items() if value is not None}


def _usage(drawn: Drawn) -> dict[str, object]:
    """The tool's own tokens: those of the model that called it are not the image's."""
    usage = drawn.tool_usage.image_gen if drawn.tool_usage else msgspec.Raw()
    return {"usage": usage} if bytes(usage) else {}
