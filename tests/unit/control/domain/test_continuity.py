"""Whose a turn is, and what must not be sent along."""

from __future__ import annotations

from msgspec.structs import replace

from codex_lb.control.domain.continuity import AVOIDED_MAX, NOBODY, claim, foreign, orphans
from codex_lb.control.domain.ids import AccountId
from codex_lb.control.domain.lease import Anchor, AnchorKind, Continuity, Wanted
from tests.unit.control.leases import wanted

A, B, C = AccountId("a"), AccountId("b"), AccountId("c")
OLD, NEW = (Anchor(AnchorKind.REASONING, digest) for digest in (b"old", b"new"))
BLOB = Anchor(AnchorKind.COMPACTION, b"blob")


def turn(*anchors: Anchor, keys: tuple[bytes, ...] = (b"s1",), preferred: AccountId | None = None) -> Wanted:
    return replace(wanted(), continuity=Continuity(anchors=anchors, affinity_keys=keys), preferred=preferred)


def test_what_only_one_account_can_read_goes_before_thoughts_and_thoughts_before_habit() -> None:
    by_blob = claim(turn(NEW, BLOB), {b"blob": A, b"new": B}, {b"s1": B})
    by_thought = claim(turn(OLD, NEW), {b"old": A, b"new": B}, {b"s1": A})
    by_habit = claim(turn(NEW), {}, {b"s1": A})

    assert (by_blob.preferred, by_blob.is_bound, by_blob.reason) == (A, True, "anchor:compaction")
    assert (by_thought.preferred, by_thought.is_bound, by_thought.reason) == (B, False, "anchor:reasoning")
    assert (by_habit.preferred, by_habit.is_bound, by_habit.reason) == (A, False, "affinity")


def test_a_conversation_with_a_past_waits_a_moment_for_its_account_and_a_first_request_does_not() -> None:
    named = claim(turn(keys=(b"s1",)), {}, {b"s1": A})
    later = claim(turn(keys=(b"p2", b"p1")), {}, {b"p1": A})
    first = claim(turn(keys=(b"p1",)), {}, {b"p1": A})

    assert [tie.is_worth_waiting for tie in (named, later, first)] == [True, True, False]


def test_the_narrowest_habit_counts() -> None:
    tie = claim(turn(keys=(b"s-thread", b"s-session")), {}, {b"s-session": A, b"s-thread": B})

    assert tie.preferred == B


def test_a_conversation_keeps_away_from_where_it_just_failed_unless_nobody_else_can_read_it() -> None:
    by_thought = claim(turn(NEW), {b"new": A}, {}, (B, A))
    by_blob = claim(turn(BLOB), {b"blob": A}, {}, (A,))

    assert (by_thought.preferred, by_thought.avoided) == (A, (B, A))
    assert (by_blob.preferred, by_blob.avoided) == (A, ())


def test_a_turn_that_failed_keeps_away_from_accounts_that_failed_others_and_a_turn_that_did_not_stays() -> None:
    unhurt = claim(turn(NEW), {b"new": A}, {}, (), (A, C))
    failed_before = claim(turn(NEW), {b"new": A}, {}, (B,), (A, C))
    on_its_way = claim(replace(turn(NEW), excluded={B: "server_error"}), {b"new": A}, {}, (), (A, C))

    assert (unhurt.unsteady, failed_before.unsteady, on_its_way.unsteady) == ((), (A, C), (A, C))


def test_accounts_are_taken_back_one_after_another_whoever_failed_longest_ago_first() -> None:
    tie = claim(turn(), {}, {}, (B, A), (C, A))

    cautions = [dict(caution) for caution in tie.cautions()]

    assert cautions == [
        {B: "failed_lately", C: "failing", A: "failed_lately"},
        {C: "failing", A: "failed_lately"},
        {A: "failed_lately"},
    ]


def test_the_account_that_failed_the_conversation_last_is_taken_back_last_whoever_failed_others_since() -> None:
    only_others_since = [list(caution) for caution in claim(turn(), {}, {}, (A,), (A, B, C)).cautions()]
    only_others = [list(caution) for caution in claim(replace(turn(), excluded={A: ""}), {}, {}, (), (B, C)).cautions()]

    assert only_others_since == [[B, C, A], [C, A], [A]]
    assert only_others == [[B, C], [C]]


def test_of_many_accounts_that_fail_the_latest_are_taken_back_one_by_one() -> None:
    many = tuple(AccountId(f"account-{n}") for n in range(64))

    cautions = [list(caution) for caution in claim(turn(), {}, {}, (B,), many).cautions()]

    assert [len(caution) for caution in cautions] == [65, *range(AVOIDED_MAX, 0, -1)]
    assert cautions[1][0] == many[-AVOIDED_MAX + 1]


def test_thoughts_of_another_account_or_of_nobody_are_not_sent_along() -> None:
    assert foreign(turn(OLD, NEW), {b"old": A, b"new": B}, B) == (b"old",)
    assert foreign(turn(OLD, NEW), {b"old": A, b"new": NOBODY}, A) == (b"new",)
    assert foreign(turn(OLD, NEW), {b"old": A}, A) == (b"new",)


def test_an_ownerless_thought_is_the_accounts_that_the_conversation_was_with_when_it_was_first_met() -> None:
    assert orphans(turn(OLD, NEW), {b"old": A}, {b"s1": B}) == {NEW: B}
    assert orphans(turn(OLD, NEW), {}, {b"s1": B}) == {OLD: B, NEW: B}
    assert orphans(turn(NEW, preferred=B), {}, {b"s1": B}) == {NEW: B}
    assert orphans(turn(NEW), {}, {}) == {NEW: NOBODY}
    assert orphans(turn(BLOB), {}, {b"s1": B}) == {}


def test_an_ownerless_thought_is_nobodys_once_there_are_later_ones() -> None:
    assert orphans(turn(OLD, NEW), {b"new": B}, {b"s1": B}) == {OLD: NOBODY}


def test_an_ownerless_thought_is_nobodys_when_its_client_holds_what_another_account_gave() -> None:
    assert orphans(turn(NEW, preferred=A), {}, {b"s1": B}) == {NEW: NOBODY}


def test_what_a_client_holds_does_not_say_alone_whose_an_ownerless_thought_is() -> None:
    assert orphans(turn(NEW, preferred=A), {}, {}) == {NEW: NOBODY}


def test_nobodys_thought_ties_a_turn_to_nobody() -> None:
    assert claim(turn(NEW), {b"new": NOBODY}, {b"s1": A}).reason == "affinity"


def test_what_a_turn_means_nothing_without_is_sent_where_it_may_be_read() -> None:
    assert foreign(turn(BLOB), {}, A) == ()
    assert foreign(turn(BLOB), {b"blob": B}, A) == (b"blob",)
