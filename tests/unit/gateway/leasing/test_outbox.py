"""What is to be settled is neither lost nor unbounded, however long control is away."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterable
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    invariant,
    precondition,
    rule,
    run_state_machine_as_test,
)

from codex_lb.api.control.v1 import leases_pb2 as pb
from codex_lb.gateway.leasing.outbox import SUFFIX, Entry, Outbox, id_of


def settlement(name: str) -> pb.Settlement:
    return pb.Settlement(lease=pb.HeldLease(lease_id=f"lease_{name}"))


def report(name: str) -> pb.TurnReport:
    return pb.TurnReport(turn_id=f"turn_{name}")


def ids(entries: Iterable[Entry]) -> list[str]:
    return [id_of(entry) for entry in entries]


def files(folder: Path) -> list[Path]:
    return sorted(folder.glob(f"*{SUFFIX}"))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "outbox"


def small(folder: Path | None, *, entries_max: int = 6, spill_entries: int = 3) -> Outbox:
    return Outbox(folder, entries_max=entries_max, spill_entries=spill_entries)


def all_known(outbox: Outbox) -> set[str]:
    """What comes up when everything is recalled and acknowledged in turn."""
    known: set[str] = set()
    while True:
        known.update(ids(outbox.unacknowledged()))
        outbox.acknowledge(ids(outbox.unacknowledged()))
        if not outbox.recall():
            return known


def test_entries_wait_in_order_until_they_are_acknowledged(folder: Path) -> None:
    outbox = small(folder)
    for entry in (settlement("a"), report("a"), settlement("b")):
        outbox.put(entry)

    outbox.acknowledge(["turn_a", "never heard of"])

    assert ids(outbox.unacknowledged()) == ["lease_a", "lease_b"]
    assert len(outbox) == 2
    assert not folder.exists()


def test_an_entry_said_twice_is_kept_once(folder: Path) -> None:
    outbox = small(folder)

    outbox.put(settlement("a"))
    outbox.put(settlement("a"))

    assert len(outbox) == 1


def test_beyond_the_bound_the_oldest_go_to_disk(folder: Path) -> None:
    outbox = small(folder)

    for i in range(7):
        outbox.put(settlement(str(i)) if i % 2 else report(str(i)))

    assert ids(outbox.unacknowledged()) == ["lease_3", "turn_4", "lease_5", "turn_6"]
    assert len(files(folder)) == 1


def test_they_come_back_when_there_is_room_and_their_file_goes_when_all_are_acknowledged(folder: Path) -> None:
    outbox = small(folder)
    for i in range(7):
        outbox.put(report(str(i)))

    assert outbox.recall() == []  # four in memory, and three would exceed six

    outbox.acknowledge(["turn_3"])
    recalled = ids(outbox.recall())
    assert sorted(recalled) == ["turn_0", "turn_1", "turn_2"]
    outbox.acknowledge(recalled[:2])
    assert len(files(folder)) == 1
    outbox.acknowledge(recalled[2:])
    assert files(folder) == []
    assert outbox.recall() == []


def test_a_restart_finds_what_was_left(folder: Path) -> None:
    before = small(folder)
    for i in range(5):
        before.put(settlement(str(i)))
    before.close()

    after = small(folder)

    assert len(before) == len(after) == 0
    assert all_known(after) == {f"lease_{i}" for i in range(5)}
    assert files(folder) == []


def test_closing_does_not_write_again_what_a_file_still_holds(folder: Path) -> None:
    outbox = small(folder)
    for i in range(7):
        outbox.put(report(str(i)))
    outbox.acknowledge([f"turn_{i}" for i in range(3, 7)])
    outbox.recall()

    outbox.close()

    assert len(files(folder)) == 1
    assert all_known(small(folder)) == {"turn_0", "turn_1", "turn_2"}


def test_closing_an_empty_outbox_leaves_nothing_behind(folder: Path) -> None:
    small(folder).close()

    assert not folder.exists()


def test_a_file_that_cannot_be_read_is_left_for_a_person_and_stops_nobody(folder: Path) -> None:
    folder.mkdir()
    (folder / f"a{SUFFIX}").write_bytes(b"\xff\xff\xff rubbish")
    (folder / f"b{SUFFIX}").write_bytes(pb.AttachRequest(turns=[report("b")]).SerializeToString())
    (folder / "half-written.part").write_bytes(b"x")
    outbox = small(folder)

    assert outbox.recall() == []
    assert ids(outbox.recall()) == ["turn_b"]
    outbox.acknowledge(["turn_b"])

    assert [f.name for f in files(folder)] == [f"a{SUFFIX}"]


def test_without_a_folder_the_bound_still_holds() -> None:
    outbox = small(None)

    for i in range(20):
        outbox.put(report(str(i)))
    outbox.close()

    assert len(outbox) == 0


def test_a_disk_that_cannot_be_written_stops_nobody_and_the_bound_still_holds(folder: Path) -> None:
    folder.write_text("a file where the folder should be")
    outbox = small(folder)

    for i in range(20):
        outbox.put(report(str(i)))
        assert len(outbox) <= 6
    outbox.close()

    assert len(outbox) == 0


class AnyOrder(RuleBasedStateMachine):
    """Puts, acknowledgements, recalls, restarts and crashes of the reader, in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.folder = Path(tempfile.mkdtemp()) / "outbox"
        self.outbox = small(self.folder)
        self.owed: set[str] = set()
        self.made = 0

    def teardown(self) -> None:
        known = all_known(self.outbox)
        shutil.rmtree(self.folder.parent)
        assert self.owed <= known

    @rule(count=st.integers(1, 9), reports=st.booleans())
    def put(self, count: int, reports: bool) -> None:
        for _ in range(count):
            self.made += 1
            entry = report(str(self.made)) if reports else settlement(str(self.made))
            self.owed.add(id_of(entry))
            self.outbox.put(entry)

    @rule(data=st.data())
    @precondition(lambda self: len(self.outbox) > 0)
    def acknowledge(self, data: st.DataObject) -> None:
        waiting = ids(self.outbox.unacknowledged())
        done = data.draw(st.lists(st.sampled_from(waiting), unique=True))
        self.outbox.acknowledge(done)
        self.owed.difference_update(done)

    @rule(data=st.data())
    @precondition(lambda self: bool(self.owed))
    def acknowledge_late(self, data: st.DataObject) -> None:
        """Of something said long ago, which may have gone to disk since."""
        done = data.draw(st.sampled_from(sorted(self.owed)))
        self.outbox.acknowledge([done])
        self.owed.discard(done)

    @rule()
    def recall(self) -> None:
        recalled = ids(self.outbox.recall())
        assert set(recalled) <= set(ids(self.outbox.unacknowledged()))

    @rule()
    def restart(self) -> None:
        self.outbox.close()
        self.outbox = small(self.folder)

    @invariant()
    def nothing_exceeds_the_bound(self) -> None:
        assert len(self.outbox) <= 6

    @invariant()
    def nothing_owed_is_lost(self) -> None:
        on_disk: set[str] = set()
        for path in files(self.folder):
            bundle = pb.AttachRequest.FromString(path.read_bytes())
            on_disk.update(ids(bundle.settlements), ids(bundle.turns))
        assert self.owed <= on_disk | set(ids(self.outbox.unacknowledged()))


def test_nothing_is_lost_in_any_order_of_events() -> None:
    run_state_machine_as_test(AnyOrder, settings=settings(max_examples=60, stateful_step_count=25, deadline=None))
