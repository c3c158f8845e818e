"""Forms are taken apart and put together without losing a byte, whatever arrives."""

from __future__ import annotations

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from codex_lb.gateway.errors import InvalidRequestError
from codex_lb.gateway.ingress.multipart import FormBounds, FormTooLargeError, Part, parse_form, write_form

WIDE = FormBounds(fields_max=100, field_bytes_max=2**20, files_max=100, files_bytes_max=2**20)
TYPE = b"multipart/form-data; boundary=boundary-of-the-test"

PARTS = st.builds(
    Part,
    name=st.from_regex(r"[A-Za-z_\[\]0-9]{1,12}", fullmatch=True),
    filename=st.none() | st.from_regex(r"[\w äöü;=.-]{0,20}", fullmatch=True).map(str.strip),
    content_type=st.sampled_from(["application/octet-stream", "image/png", "audio/x-wav"]),
    content=(st.binary(max_size=60) | st.sampled_from([b"\r\n", b"--", b"\r\n--boundary", b"--boundary-of"])).map(
        memoryview
    ),
)


def facts(part: Part) -> tuple[object, ...]:
    content_type = "" if part.filename is None else part.content_type
    return (part.name, part.filename, content_type, bytes(part.content))


@given(st.lists(PARTS, max_size=6))
def test_what_is_written_is_read_again(parts: list[Part]) -> None:
    body = write_form(parts, "boundary-of-the-test")

    assert [facts(part) for part in parse_form(body, TYPE, WIDE)] == [facts(part) for part in parts]


@given(st.binary(max_size=200), st.binary(max_size=60))
def test_no_body_breaks_the_parser(body: bytes, content_type: bytes) -> None:
    for kind in (content_type, b"multipart/form-data; boundary=b"):
        with contextlib.suppress(InvalidRequestError):
            parse_form(b"--b\r\n" + body, kind, WIDE)


def test_what_stands_before_and_behind_the_parts_is_nothing() -> None:
    body = b'preamble\r\n--b  \r\nContent-Disposition: form-data; name="a"\r\n\r\n1\r\n--b--\r\nepilogue'

    (part,) = parse_form(body, b'Multipart/Form-Data; charset=utf-8; boundary="b"', WIDE)

    assert (part.name, part.filename, part.text) == ("a", None, "1")


def test_an_encoded_filename_is_understood() -> None:
    body = b"--b\r\ncontent-disposition: form-data; name=f; filename*=utf-8''na%C3%AFve.wav\r\n\r\n\r\n--b--"

    (part,) = parse_form(body, b"multipart/form-data; boundary=b", WIDE)

    assert (part.filename, bytes(part.content), part.content_type) == ("naïve.wav", b"", "application/octet-stream")


def test_a_filename_cannot_smuggle_a_header() -> None:
    part = Part("file", 'a"\r\nX-Evil: 1', "audio/wav", memoryview(b"1"))

    body = write_form([part], "b")

    assert body.startswith(b'--b\r\nContent-Disposition: form-data; name="file"; filename="a%22%0D%0AX-Evil: 1"\r\n')


@pytest.mark.parametrize(
    ("bounds", "param"),
    [
        (FormBounds(fields_max=1, field_bytes_max=9, files_max=9, files_bytes_max=9), "b"),
        (FormBounds(fields_max=9, field_bytes_max=2, files_max=9, files_bytes_max=9), "a"),
        (FormBounds(fields_max=9, field_bytes_max=9, files_max=0, files_bytes_max=9), "f"),
        (FormBounds(fields_max=9, field_bytes_max=9, files_max=9, files_bytes_max=2), "f"),
    ],
)
def test_a_form_beyond_its_bounds_is_refused_by_name(bounds: FormBounds, param: str) -> None:
    fields = [Part(name, None, "", memoryview(b"123")) for name in ("a", "b")]
    body = write_form([*fields, Part("f", "x", "audio/wav", memoryview(b"123"))], "b")

    with pytest.raises(FormTooLargeError) as refused:
        parse_form(body, b"multipart/form-data; boundary=b", bounds)

    assert (refused.value.status, refused.value.code, refused.value.param) == (413, "payload_too_large", param)


@pytest.mark.parametrize(
    "content_type", [b"", b"application/json", b"multipart/form-data", b"multipart/form-data; boundary="]
)
def test_a_body_that_is_no_form_is_refused(content_type: bytes) -> None:
    with pytest.raises(InvalidRequestError, match="must be multipart/form-data"):
        parse_form(b"--b--", content_type, WIDE)
