"""Which rank is named as the one that hangs."""

import pytest

from etl.extract.rank_views import RankView, find_hung, view_of
from etl.heartbeat import Activity

LIMIT, GRACE = 600.0, 20.0


def judged(*views, unseen=None):
    by_rank = {view.rank: view for view in views}
    return find_hung(by_rank, {rank: (unseen or {}).get(rank, 0.0) for rank in by_rank}, LIMIT, GRACE, len(views))


def rank(number, what="decoding B02", unit="B02", idle_s=0.0, **more):
    return RankView(number, f"node{number}", what, unit, idle_s, **more)


def waiting(number, idle_s=900.0):
    return rank(number, "waiting for other ranks", "", idle_s, waits=True)


def test_a_rank_that_waits_does_not_hang_but_the_one_it_waits_for_does():
    assert judged(waiting(0), rank(1, idle_s=599.0), waiting(2)) is None
    verdict = judged(waiting(0), rank(1, idle_s=600.0), waiting(2))
    assert verdict.message == "rank 1 of 3 on node1 has made no progress for 600 s: decoding B02"
    reason = "B02: an earlier run hung here for 600 s; --resume --retry-rejected tries it again"
    assert (verdict.units, verdict.lost) == ({"B02": reason}, False)


def test_several_ranks_that_hang_are_all_rejected_and_a_few_named():
    verdict = judged(*(rank(k, f"decoding {k}", f"{k}", 700.0) for k in range(7)))
    assert verdict.units.keys() == {str(k) for k in range(7)}
    assert "rank 3 of 7" in verdict.message
    assert "(and 3 more ranks)" in verdict.message


def test_a_rank_that_does_not_run_is_named_before_those_that_hang_with_it():
    views = (rank(0, "writing rows 0 to 8", "", 610.0, together=True), rank(1, idle_s=1.0))
    verdict = judged(*views, unseen={1: 600.0})
    assert verdict.lost
    assert "rank 1 of 2 on node1 does not run (it is stopped, or its host is lost)" in verdict.message
    assert verdict.units.keys() == {"B02"}


def test_a_write_that_may_wait_for_others_is_named_later():
    write = {"what": "writing rows 0 to 8", "unit": "", "together": True}
    assert judged(rank(0, idle_s=610.0, **write), waiting(1)) is None
    verdict = judged(rank(0, idle_s=620.0, **write), waiting(1))
    assert verdict.message.endswith("has made no progress for 600 s: writing rows 0 to 8")
    assert verdict.units == {}


def test_ranks_that_all_wait_for_each_other_end():
    assert judged(waiting(0), waiting(1), rank(2)) is None
    assert judged(waiting(0), waiting(1, 3.0)) is None
    assert "wait" in judged(waiting(0), waiting(1)).message
    assert find_hung({0: waiting(0)}, {0: 0.0}, LIMIT, GRACE, 2) is None  # nothing is known of rank 1


@pytest.mark.parametrize("size", [1, 2])
def test_a_rank_shows_what_it_is_at_for_longest_and_waits_only_if_all_its_threads_do(size):
    wait, decode, upsample = Activity("wait", waits=True), Activity("decoding", "B02"), Activity("upsampling")
    shown = view_of(1, "node", [(wait, 90.0), (decode, 50.0), (upsample, 3.0)][:size])
    assert (shown.what, shown.idle_s, shown.waits) == (("wait", 90.0, True), ("decoding", 50.0, False))[size - 1]
    assert view_of(1, "node", [(wait, 90.0), (wait, 4.0)]).idle_s == 4.0
    assert not view_of(1, "node", []).waits


def test_a_view_passes_through_a_message():
    view = rank(3, "lesen \udc80 ü", idle_s=2.5, waits=True)
    assert RankView.from_bytes(view.to_bytes()) == view
    for data in (b"", b"[]", b"3", b'{"rank": 3}', b'{"rank": 3, "host": "n", "more": 1}', b"\xff"):
        with pytest.raises((ValueError, TypeError)):
            RankView.from_bytes(data)
