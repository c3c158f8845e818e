"""What processes have used, as the kernel counts it, and what else the machine did."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import psutil

TICKS_PER_S = os.sysconf("SC_CLK_TCK")
BUSY = (0, 1, 2, 5, 6, 7)  # of /proc/stat: user, nice, system, irq, softirq, and what other machines took from this one


def tree(pid: int) -> list[int]:
    """The process and all it started."""
    return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]


def cpu_s(pids: Iterable[int], *, alone: bool = False) -> float:
    """CPU seconds of the trees, or of the processes alone: the scheduler's own count, thread by thread."""
    return sum(sum(threads_s(pid).values()) for root in pids for pid in ([root] if alone else tree(root)))


def threads_s(pid: int) -> dict[int, float]:
    """CPU seconds of every thread of a process."""
    used = {}
    for task in Path(f"/proc/{pid}/task").iterdir():
        with suppress(FileNotFoundError, ProcessLookupError):  # it ended meanwhile
            used[int(task.name)] = int((task / "schedstat").read_text().split()[0]) / 1e9
    return used


def memory_bytes(pids: Iterable[int]) -> int:
    """What the trees have resident, as `ps` says: pages that several share count in each."""
    return sum(psutil.Process(pid).memory_info().rss for root in pids for pid in tree(root))


def peak_bytes(pids: Iterable[int]) -> int:
    """The most that each ever had resident, since `forget_peaks`."""
    total = 0
    for pid in (pid for root in pids for pid in tree(root)):
        status = Path(f"/proc/{pid}/status").read_text()
        total += next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith("VmHWM"))
    return total


def forget_peaks(pids: Iterable[int]) -> None:
    """Starts the peaks anew."""
    for root in pids:
        for pid in tree(root):
            Path(f"/proc/{pid}/clear_refs").write_text("5")


def pin(pid: int, core: int) -> None:
    """Keeps a process, with all its threads, on one core."""
    for thread in _threads(pid):
        os.sched_setaffinity(thread, {core})


def unpin(pid: int) -> None:
    """Lets a process and its children run wherever there is room."""
    for thread in _threads(pid):
        os.sched_setaffinity(thread, range(os.cpu_count() or 1))


def stand_still(pids: Iterable[int]) -> None:
    """Stops the trees in what they are doing, until `awake`."""
    _signal(pids, signal.SIGSTOP)


@contextmanager
def awake(pids: Iterable[int]) -> Iterator[None]:
    """Inside, trees that stand still go on."""
    _signal(pids, signal.SIGCONT)
    try:
        yield
    finally:
        stand_still(pids)


def _signal(pids: Iterable[int], number: signal.Signals) -> None:
    for pid in (pid for root in pids for pid in tree(root)):
        os.kill(pid, number)


@dataclass(slots=True)
class Beside:
    """What went on beside a measurement."""

    is_urgent: bool  # whether ours went first
    others_cores: float = 0.0  # cores that others used, on average

    @property
    def note(self) -> str:
        """In words."""
        how = "with real-time priority" if self.is_urgent else "without priority"
        return f"others used {self.others_cores:.1f} of {os.cpu_count()} cores, measured {how}"


@contextmanager
def beside(*, urgent: bool) -> Iterator[Beside]:
    """Watches what others use. `urgent`: all that we started goes before them, where we may: a wait is a wait for us."""
    seen = Beside(urgent and _hurry(os.SCHED_RR))
    started, busy, ours = time.monotonic(), _busy_s(), _ours_s()
    try:
        yield seen
    finally:
        used = _busy_s() - busy - (_ours_s() - ours)
        seen.others_cores = max(0.0, used / (time.monotonic() - started))
        if seen.is_urgent:
            _hurry(os.SCHED_OTHER)


def _hurry(policy: int) -> bool:
    priority = os.sched_param(1 if policy == os.SCHED_RR else 0)
    for thread in _threads(os.getpid()):
        try:
            os.sched_setscheduler(thread, policy, priority)
        except PermissionError:
            return False
        except ProcessLookupError:  # it ended meanwhile
            continue
    return True


def _threads(pid: int) -> list[int]:
    return [int(task.name) for process in tree(pid) for task in Path(f"/proc/{process}/task").iterdir()]


def _busy_s() -> float:
    times = [int(n) for n in Path("/proc/stat").read_text().splitlines()[0].split()[1:]]
    return sum(times[column] for column in BUSY) / TICKS_PER_S


def _ours_s() -> float:
    ended = resource.getrusage(resource.RUSAGE_CHILDREN)
    return cpu_s([os.getpid()]) + ended.ru_utime + ended.ru_stime
