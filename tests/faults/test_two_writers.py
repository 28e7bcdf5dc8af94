"""Two and three runs on one store in a bucket, held at any request: no put of an earlier one changes anything.

`make test` holds them at some of their requests, with `TWO_WRITERS=all` at each.
"""

import os
import random

import pytest
from two_writers import CASES, trials

STEP = 1 if os.environ.get("TWO_WRITERS") == "all" else 25
MOST_REQUESTS = 250
"""More than a run makes."""


@pytest.fixture(scope="module")
def tried(tmp_path_factory):
    with trials(tmp_path_factory.mktemp("images")) as found:
        yield found


@pytest.mark.parametrize("case", CASES)
def test_after_a_takeover_no_put_of_the_earlier_run_changes_an_object(tried, case):
    pause = random.Random(case).randrange(STEP)
    while tried.overlap(CASES[case], pause):
        pause += STEP


@pytest.mark.parametrize("seed", range(4 if STEP > 1 else 500))
def test_of_three_runs_the_last_one_counts(tried, seed):
    rng = random.Random(seed)
    tried.overlap(CASES[rng.choice(list(CASES))], rng.randrange(MOST_REQUESTS), rng.randrange(MOST_REQUESTS))


@pytest.mark.parametrize("seed", range(4 if STEP > 1 else 500))
def test_a_run_that_goes_on_while_another_takes_over_does_not_disturb_it(tried, seed):
    rng = random.Random(seed)
    tried.cross(CASES[rng.choice(list(CASES))], rng.randrange(MOST_REQUESTS), rng.randrange(MOST_REQUESTS))
