"""What a profile tells of sampled stacks."""

from __future__ import annotations

import pytest

from bench.stacks import Stack, by_package, in_all, own, package, read_stacks, weighed

RAW = """\
thread (7): MainThread;main (allinone/cli.py:3);Runner.run (asyncio/runners.py:86);serve (gateway/turn/turn.py:5);cut (sse.py:1) 3
thread (7): MainThread;main (allinone/cli.py:3);Runner.run (asyncio/runners.py:86);serve (gateway/turn/turn.py:5) 1
thread (9): writer;run (threading.py:971) 2
py-spy> what else is said
"""


def stack(*frames: str, weight: float = 1.0, thread: int = 7) -> Stack:
    return Stack(thread, "", frames, weight)


def test_a_stack_begins_at_the_event_loop_and_knows_its_thread() -> None:
    first, second, third = read_stacks(RAW)

    assert first.frames == ("Runner.run (asyncio/runners.py:86)", "serve (gateway/turn/turn.py:5)", "cut (sse.py:1)")
    assert second.weight == 1.0
    assert (third.thread, third.name, third.frames) == (9, "writer", ("run (threading.py:971)",))


def test_what_the_kernel_counted_for_a_thread_is_divided_by_where_it_was_seen() -> None:
    found = weighed(read_stacks(RAW), {7: 100.0, 9: 30.0, 11: 5.0})

    assert [stack.weight for stack in found] == [75.0, 25.0, 30.0]


def test_a_thread_that_nobody_counted_costs_nothing() -> None:
    found = weighed(read_stacks(RAW), {7: 100.0})

    assert found[-1].weight == 0.0


def test_own_is_the_innermost_function_alone_and_in_all_counts_a_recursion_once() -> None:
    stacks = [stack("a (x.py:1)", "b (x.py:2)", "b (x.py:2)", weight=2.0), stack("a (x.py:1)", weight=1.0)]

    assert own(stacks) == {"b (x.py:2)": 2.0, "a (x.py:1)": 1.0}
    assert in_all(stacks) == {"a (x.py:1)": 3.0, "b (x.py:2)": 2.0}


def test_our_own_code_is_told_apart_by_part_and_other_code_by_package() -> None:
    stacks = [stack("f (gateway/turn/sse.py:1)"), stack("g (gateway/turn/turn.py:1)"), stack("h (aiohttp/client.py:9)")]

    assert by_package(stacks) == {"gateway/turn": 2.0, "aiohttp": 1.0}


@pytest.mark.parametrize(
    ("frame", "whose"),
    [
        ("RequestHandler.<locals>.f (<string>:2)", "<string>"),
        ("load (kit/redact.py:101)", "kit/redact"),
        ("run (threading.py:971)", "threading"),
        ("send", "send"),
    ],
)
def test_a_frame_names_its_package_whatever_it_looks_like(frame: str, whose: str) -> None:
    assert package(frame) == whose


def test_places_in_c_are_told_apart_by_function_and_nameless_ones_by_library() -> None:
    [found] = read_stacks("thread (7): m;0x7f01 (libc.so.6);run (loop.c:19903);run (loop.c:19904);f (a.py:1) 4")

    assert found.frames == ("somewhere (libc.so.6)", "run (loop.c)", "run (loop.c)", "f (a.py:1)")
