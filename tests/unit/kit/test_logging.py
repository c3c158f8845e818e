"""One form for every line, whoever wrote it."""

from __future__ import annotations

import io
import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from codex_lb.kit.logging import configure_logging, log_context


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def _logging_as_before() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level = root.handlers[:], root.level
    yield
    root.handlers, root.level = handlers, level
    structlog.reset_defaults()


def test_json_lines_carry_message_level_time_fields_and_context() -> None:
    stream = io.StringIO()
    configure_logging("json", "info", stream=stream)

    with log_context(request_id="req_1", account_id="acc_1"):
        structlog.get_logger("codex_lb.tests").info("turn ended", status=200)

    line = json.loads(stream.getvalue())
    assert line.pop("timestamp").endswith("Z")
    assert line == {
        "event": "turn ended",
        "level": "info",
        "logger": "codex_lb.tests",
        "status": 200,
        "request_id": "req_1",
        "account_id": "acc_1",
    }


def test_lines_of_libraries_take_the_same_form_with_context() -> None:
    stream = io.StringIO()
    configure_logging("json", "info", stream=stream)

    with log_context(request_id="req_1"):
        logging.getLogger("uvicorn.error").warning("odd %s\n", "request", extra={"color_message": "\x1b[1modd"})

    line = json.loads(stream.getvalue())
    assert (line["event"], line["logger"], line["request_id"]) == ("odd request", "uvicorn.error", "req_1")
    assert "color_message" not in line


@pytest.mark.parametrize("form", ["text", "json"])
def test_tracebacks_are_rendered_without_their_secrets(form: str) -> None:
    stream = io.StringIO()
    configure_logging(form, "info", stream=stream)  # type: ignore[arg-type]

    try:
        raise ValueError("refused sk-clb-abcdefgh\n2026-01-01 [info] forged")
    except ValueError:
        structlog.get_logger().exception("failed", authorization="Bearer abc")
        logging.getLogger("library").exception("failed too")

    text = stream.getvalue()
    assert text.count("Traceback (most recent call last)") == 2
    assert "abcdefgh" not in text
    assert "Bearer abc" not in text
    assert not any(line.startswith("2026-01-01 [info]") for line in text.splitlines())


def test_lines_below_the_level_are_left_out_and_chatty_libraries_are_quiet() -> None:
    stream = io.StringIO()
    configure_logging("text", "INFO", stream=stream)

    structlog.get_logger().debug("not this")
    logging.getLogger("httpx").info("nor this")
    structlog.get_logger().info("but this")

    assert stream.getvalue().count("\n") == 1
    assert "but this" in stream.getvalue()


@pytest.mark.parametrize(("stream", "coloured"), [(Terminal(), True), (io.StringIO(), False)])
def test_text_is_coloured_on_a_terminal_only(stream: io.StringIO, coloured: bool) -> None:
    configure_logging("text", "info", stream=stream)

    structlog.get_logger().info("hello")

    assert ("\x1b[" in stream.getvalue()) is coloured


def test_an_unknown_level_is_refused() -> None:
    with pytest.raises(ValueError, match="LOUD"):
        configure_logging("text", "loud")


def test_a_line_of_text_has_its_parts_in_order_and_fields_that_cannot_be_misread() -> None:
    stream = io.StringIO()
    configure_logging("text", "info", stream=stream)

    structlog.get_logger("codex_lb.tests").info("POST %s", "/v1", turn_id="turn_1", said="a b=c", left="", status=200)

    head, fields = stream.getvalue().split(" [codex_lb.tests] ")
    assert head.split("Z ", 1)[1] == "[info     ] POST /v1" + " " * 22
    assert fields == "left='' said='a b=c' status=200 turn_id=turn_1\n"
