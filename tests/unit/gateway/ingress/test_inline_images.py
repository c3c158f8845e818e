"""Which URLs are fetched at all, before any name is looked up."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from codex_lb.gateway.ingress.inline_images import may_fetch, type_of
from codex_lb.gateway.ingress.public_address import is_public

ANY_HOST: frozenset[str] = frozenset()


@pytest.mark.parametrize(
    "url",
    [
        "https://example.com/a.png",
        "https://EXAMPLE.com:443/a.png?b=c#d",
        "https://a.b-c.example.co.uk/",
        "https://xn--bcher-kva.example.xn--p1ai/",
        "https://bücher.example.com/ü.png",
        "https://8.8.8.8/a.png",
        "https://[2606:4700:4700::1111]/a.png",
    ],
)
def test_a_public_https_url_is_fetched(url: str) -> None:
    assert may_fetch(URL(url), ANY_HOST, is_public)


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/a.png",
        "ftp://example.com/a.png",
        "file:///etc/passwd",
        "data:image/png;base64,AAAA",
        "//example.com/a.png",
        "example.com/a.png",
        "https:///a.png",
        "https://user@example.com/",
        "https://:password@example.com/",
        "https://example.com@127.0.0.1/",
        "https://example.com:8443/",
        "https://example.com:80/",
        "https://example.com:0/",
        "https://localhost/",
        "https://metadata/",
        "https://127.0.0.1/",
        "https://127.1/",
        "https://127.0.0.1./",
        "https://0/",
        "https://0.0.0.0/",
        "https://2130706433/",
        "https://0x7f000001/",
        "https://0x7f.0.0.1/",
        "https://0177.0.0.1/",
        "https://017700000001/",
        "https://１２７.0.0.1/",
        "https://169.254.169.254/latest/meta-data/",
        "https://[::1]/",
        "https://[::]/",
        "https://[::ffff:127.0.0.1]/",
        "https://[::ffff:a9fe:a9fe]/",
        "https://[64:ff9b::10.0.0.1]/",
        "https://[2002:7f00:1::]/",
        "https://[fe80::1%25eth0]/",
        "https://127.0.0.1%00.example.com/",
        "https://exa mple.com/",
        "https://example.com./",
        "https://-example.com/",
        "https://exam_ple.c_m/",
    ],
)
def test_any_other_url_is_not(url: str) -> None:
    assert not may_fetch(URL(url), ANY_HOST, is_public)


@pytest.mark.parametrize(
    ("url", "is_fetched"),
    [
        ("https://images.example.com/", True),
        ("https://IMAGES.example.com/", True),
        ("https://other.example.com:8443/", True),
        ("https://other.example.com/", False),
        ("https://images.example.com:8443/", False),
        ("https://sub.images.example.com/", False),
        ("https://example.com/", False),
        ("https://8.8.8.8/", False),
        ("https://10.0.0.1/", False),
        ("http://images.example.com/", False),
    ],
)
def test_a_list_of_hosts_allows_these_and_their_ports_but_never_what_is_not_public(url: str, is_fetched: bool) -> None:
    allowed = frozenset({"images.example.com", "other.example.com:8443", "10.0.0.1"})

    assert may_fetch(URL(url), allowed, is_public) is is_fetched


@given(st.text(max_size=60))
def test_no_text_is_fetched_unless_it_names_something_public(text: str) -> None:
    try:
        url = URL("https://" + text)
    except ValueError:
        return
    if may_fetch(url, ANY_HOST, is_public):
        assert url.port == 443
        assert "." in (url.raw_host or "") or ":" in (url.raw_host or "")
        assert not url.raw_user


@pytest.mark.parametrize(
    ("data", "kind"),
    [
        (b"\x89PNG\r\n\x1a\n....", "image/png"),
        (b"\xff\xd8\xff\xe0....", "image/jpeg"),
        (b"GIF87a....", "image/gif"),
        (b"GIF89a....", "image/gif"),
        (b"RIFF\x24\0\0\0WEBPVP8 ", "image/webp"),
        (b"RIFF\x24\0\0\0WAVEfmt ", None),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", None),
        (b"<!doctype html>", None),
        (b"", None),
    ],
)
def test_an_image_is_known_by_its_first_bytes(data: bytes, kind: str | None) -> None:
    assert type_of(data) == kind
