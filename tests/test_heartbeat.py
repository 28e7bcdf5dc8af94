"""What threads note about their work."""

import contextlib
import threading

from etl.catalogue.finder import find_products
from etl.heartbeat import activities, doing, now_doing


def own():
    return activities().get(threading.get_ident())


def test_a_thread_notes_what_it_does_and_what_it_did_before_goes_on():
    seen = []

    def work():
        now_doing("planning")
        seen.append(own())
        with doing("waiting", waits=True):
            with doing("decoding", "B02"):
                seen.append(own())
            seen.append(own())
        seen.append(own())

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert [(item.what, item.unit, item.waits) for item in seen] == [
        ("planning", "", False), ("decoding", "B02", False), ("waiting", "", True), ("planning", "", False),
    ]  # fmt: skip
    assert seen[0] is not seen[3]  # going on is progress


def test_what_ends_leaves_nothing_behind_also_after_an_error(tmp_path):
    before = own()  # what another test left in this thread
    with contextlib.suppress(OSError), doing("reading"):
        assert own().what == "reading"
        raise OSError("gone")
    assert (own() and own().what) == (before and before.what)
    with contextlib.suppress(ValueError):
        find_products(tmp_path)
    assert (own() and own().what) == (before and before.what)


def test_the_same_work_again_is_another_activity():
    with doing("reading"):
        first = own()
    with doing("reading"):
        assert own() != first
