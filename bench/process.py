"""What a process tree has used, as the kernel counts it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import psutil


def tree(pid: int) -> list[int]:
    """The process and all it started."""
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def cpu_s(pids: Iterable[int], *, alone: bool = False) -> float:
    """CPU seconds of the trees, or of the processes alone: the scheduler's own count, thread by thread."""
    return sum(sum(threads_s(pid).values()) for root in pids for pid in ([root] if alone else tree(root)))


def memory_bytes(pids: Iterable[int]) -> int:
    """What the trees take of memory for themselves; pages that several share count in part."""
    return sum(int(psutil.Process(pid).memory_full_info().pss) for root in pids for pid in tree(root))


def peak_bytes(pid: int) -> int:
    """The most that a process ever had resident."""
    status = Path(f"/proc/{pid}/status").read_text()
    return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))


def forget_peak(pid: int) -> None:
    """Starts the peak anew."""
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def pin(pid: int, core: int) -> None:
    """Keeps a process, with all its threads, on one core."""
    for process in tree(pid):
        for task in Path(f"/proc/{process}/task").iterdir():
            os.sched_setaffinity(int(task.name), {core})


def unpin(pid: int) -> None:
    """Lets a process and its children run wherever there is room."""
    for process in tree(pid):
        for task in Path(f"/proc/{process}/task").iterdir():
            os.sched_setaffinity(int(task.name), range(os.cpu_count() or 1))


def threads_s(pid: int) -> dict[int, float]:
    """CPU seconds of every thread of a process."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return {int(task.name): int((task / "schedstat").read_text().split()[0]) / 1e9 for task in tasks}
