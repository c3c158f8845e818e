"""Sampled stacks, and what of the CPU each function has. Pure."""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

THREAD = re.compile(r"thread \((\d+)\)(?:: (.+))?")
FILE = re.compile(r".+ \(([^()]+?)(?::\d+)?\)")
NATIVE = re.compile(
    r"(?:0x[0-9a-f]+|(.+)) \((.+\.(?:c|h|pyx|so)\b[^:()]*)(?::\d+)?\)"
)  # told apart by function, not by line
LOOP = "Runner.run (asyncio/"  # what stands around it is the same for everything
OURS = frozenset({"allinone", "control", "gateway", "kit", "usage_worker", "api"})


@dataclass(frozen=True, slots=True)
class Stack:
    """One way to a place in the code."""

    thread: int  # the kernel's id
    name: str  # the thread's
    frames: tuple[str, ...]  # the innermost last
    weight: float  # how often somebody was seen there, or what CPU it stands for


def read_stacks(text: str) -> list[Stack]:
    """What `py-spy record --threads --format raw` writes: `thread (7): main;outer (a.py:1);inner (b.py:2) 12`."""
    stacks = []
    for line in text.splitlines():
        path, _, samples = line.rpartition(" ")
        thread, *frames = path.split(";")
        found = THREAD.match(thread)
        if found and frames:
            inner = tuple(map(function, within_loop(frames)))
            stacks.append(Stack(int(found[1]), found[2] or "", inner, float(samples)))
    return stacks


def function(frame: str) -> str:
    """The frame; in C without its line, and a library's nameless places as one."""
    found = NATIVE.fullmatch(frame)
    return frame if found is None else f"{found[1] or 'somewhere'} ({found[2]})"


def within_loop(frames: Sequence[str]) -> Sequence[str]:
    """Without what leads to the event loop."""
    loop = next((place for place, frame in enumerate(frames) if frame.startswith(LOOP)), 0)
    return frames[loop:]


def weighed(stacks: Sequence[Stack], cpu_us: Mapping[int, float]) -> list[Stack]:
    """With CPU for samples: what the kernel counted for a thread is divided by where the thread was seen."""
    seen: dict[int, float] = defaultdict(float)
    for stack in stacks:
        seen[stack.thread] += stack.weight
    return [replace(s, weight=s.weight / seen[s.thread] * cpu_us.get(s.thread, 0.0)) for s in stacks if seen[s.thread]]


def own(stacks: Iterable[Stack]) -> dict[str, float]:
    """Of each function alone, with the C code that it calls."""
    return _summed((stack.frames[-1], stack.weight) for stack in stacks)


def in_all(stacks: Iterable[Stack]) -> dict[str, float]:
    """Of each function with all it calls; once, however often it calls itself."""
    return _summed((frame, stack.weight) for stack in stacks for frame in set(stack.frames))


def by_package(stacks: Iterable[Stack]) -> dict[str, float]:
    """Of the code of each package; ours down to the part, like `gateway/turn`."""
    return _summed((package(stack.frames[-1]), stack.weight) for stack in stacks)


def package(frame: str) -> str:
    """Whose code a frame is."""
    found = FILE.fullmatch(frame)
    parts = found[1].split("/") if found else [frame]
    return "/".join(parts[:2] if parts[0] in OURS else parts[:1]).removesuffix(".py")


def _summed(weights: Iterable[tuple[str, float]]) -> dict[str, float]:
    found: dict[str, float] = defaultdict(float)
    for name, weight in weights:
        found[name] += weight
    return dict(found)
