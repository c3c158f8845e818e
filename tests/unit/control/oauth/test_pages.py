"""The page a sign-in ends on: small, alone, and never what somebody else wrote."""

from __future__ import annotations

from codex_lb.control.oauth.pages import failure_page, success_page


def body(page: object) -> str:
    """As the browser gets it."""
    content = getattr(page, "body", b"")
    assert isinstance(content, bytes)
    return content.decode()


def test_words_of_others_are_shown_and_not_run() -> None:
    page = failure_page("<script>alert(1)</script> & $title", status=400)

    assert "&lt;script&gt;alert(1)&lt;/script&gt; &amp; $title" in body(page)
    assert "<script" not in body(page)


def test_a_page_loads_nothing_and_follows_the_browsers_colours() -> None:
    page = success_page("The account is in the pool.")

    assert "default-src 'none'" in page.headers["content-security-policy"]
    assert "prefers-color-scheme: dark" in body(page)
    assert not [word for word in ("http:", "https:", "src=", "href=", "url(") if word in body(page)]
    assert len(page.body) < 4096
