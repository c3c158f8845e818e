"""Takes a multipart/form-data body apart, within bounds (RFC 7578). Pure: parts are views of the body, not copies."""

from __future__ import annotations

import re
from dataclasses import dataclass
from email.message import Message
from email.parser import HeaderParser
from email.utils import collapse_rfc2231_value

from codex_lb.gateway.errors import InvalidRequestError

HEADER_BYTES_MAX = 8 * 2**10  # of one part; browsers send some hundreds
BOUNDARY_CHARS_MAX = 200  # RFC 2046 says 70
OCTETS = "application/octet-stream"
_MEDIA_TYPE = re.compile(r"[\w.+-]+/[\w.+-]+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Part:
    """One field, or one file."""

    name: str
    filename: str | None  # None for a field
    content_type: str
    content: memoryview

    @property
    def text(self) -> str:
        """The content of a field. Raises InvalidRequestError."""
        try:
            return str(self.content, "utf-8")
        except UnicodeDecodeError as error:
            raise InvalidRequestError("The field is not UTF-8", param=self.name) from error


@dataclass(frozen=True, slots=True)
class FormBounds:
    """What a form may hold."""

    fields_max: int
    field_bytes_max: int
    files_max: int
    files_bytes_max: int  # all files together


class FormTooLargeError(InvalidRequestError):
    """The parts are more, or larger, than the endpoint takes."""

    status, code = 413, "payload_too_large"


def parse_form(body: bytes, content_type: bytes, bounds: FormBounds) -> list[Part]:
    """The parts in their order. Raises InvalidRequestError, FormTooLargeError."""
    delimiter = b"--" + _boundary(content_type)
    separator = b"\r\n" + delimiter
    whole = memoryview(body)
    at = len(delimiter) if body.startswith(delimiter) else _behind(body, separator, 0)
    parts: list[Part] = []
    fields = files = files_bytes = 0
    while not body.startswith(b"--", at):
        line_end = body.find(b"\r\n", at, at + HEADER_BYTES_MAX)
        if line_end < 0 or body[at:line_end].strip(b" \t"):
            raise _malformed()
        head_end = body.find(b"\r\n\r\n", line_end, line_end + HEADER_BYTES_MAX)
        if head_end < 0:
            raise _malformed()
        at = _behind(body, separator, head_end + 2)  # the empty line may be the separator's own: an empty part
        part = _part(body[line_end + 2 : head_end], whole[head_end + 4 : max(head_end + 4, at - len(separator))])
        if part.filename is None:
            fields += 1
            if fields > bounds.fields_max or part.content.nbytes > bounds.field_bytes_max:
                raise FormTooLargeError("The form has too many fields, or too large ones", param=part.name)
        else:
            files += 1
            files_bytes += part.content.nbytes
            if files > bounds.files_max or files_bytes > bounds.files_bytes_max:
                raise FormTooLargeError("The form has too many files, or too large ones", param=part.name)
        parts.append(part)
    return parts


def write_form(parts: list[Part], boundary: str) -> bytes:
    """A body of these parts; the boundary must not occur in them."""
    pieces: list[bytes | memoryview] = []
    for part in parts:
        head = f'--{boundary}\r\nContent-Disposition: form-data; name="{_quoted(part.name)}"'
        if part.filename is not None:
            head += f'; filename="{_quoted(part.filename)}"\r\nContent-Type: {part.content_type}'
        pieces += [head.encode(), b"\r\n\r\n", part.content, b"\r\n"]
    pieces.append(f"--{boundary}--\r\n".encode())
    return b"".join(pieces)


def _boundary(content_type: bytes) -> bytes:
    header = Message()
    header["content-type"] = content_type.decode("latin-1")
    boundary = header.get_param("boundary")
    is_form = header.get_content_type() == "multipart/form-data"
    if not is_form or not isinstance(boundary, str) or not 0 < len(boundary) <= BOUNDARY_CHARS_MAX:
        raise InvalidRequestError("The request body must be multipart/form-data")
    return boundary.encode("latin-1", "replace")


def _behind(body: bytes, separator: bytes, start: int) -> int:
    """Where the next separator ends."""
    found = body.find(separator, start)
    if found < 0:
        raise _malformed()
    return found + len(separator)


def _part(head: bytes, content: memoryview) -> Part:
    headers = HeaderParser().parsestr(head.decode("utf-8", "replace"))
    name = headers.get_param("name", header="content-disposition")
    if headers.get_content_disposition() != "form-data" or name is None:
        raise _malformed()
    filename = headers.get_param("filename", header="content-disposition")
    content_type = headers.get_content_type() if headers["content-type"] else OCTETS
    return Part(
        name=collapse_rfc2231_value(name),
        filename=None if filename is None else collapse_rfc2231_value(filename),
        content_type=content_type if _MEDIA_TYPE.fullmatch(content_type) else OCTETS,
        content=content,
    )


def _quoted(text: str) -> str:
    """As the HTML standard writes names and filenames."""
    return text.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")


def _malformed() -> InvalidRequestError:
    return InvalidRequestError("The multipart body is malformed")
