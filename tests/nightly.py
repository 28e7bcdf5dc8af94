"""`make test-nightly MINUTES=N`: disturb commands at length, and add what was tried to tests/faults/tries.json.

Faults of each case are tried in one fixed order, in which each night goes on where the last one stopped, so that in the
end every fault was tried at every site. Kills are drawn from the seed.
"""

import argparse
import itertools
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cluster.host_trials import TooLateError, draw_trial, make_archive, try_to_cut
from cluster.hosts import cluster, missing
from injector import Fault
from trial_cases import CASES, Case, make_base
from trials import Outcome, every_fault, remove, try_fault, try_kill, undisturbed
from two_writers import CASES as TWO_WRITERS_CASES
from two_writers import schedules, trials

ROOT = Path(__file__).parents[1]
FUZZ_TESTS = [
    f"tests/{name}.py" for name in ("test_fuzz", "test_input_files", "test_raster_limits", "faults/test_store_fuzz")
]
TRIES = ROOT / "tests" / "faults" / "tries.json"


@dataclass(slots=True)
class Night:
    """What the trials of one night share."""

    folder: Path
    rng: random.Random
    cases: list[Case]
    tries: dict[str, Any]
    """Content of tests/faults/tries.json, which they add to."""

    def counts(self, kind: str, case: str) -> dict[str, Any]:
        """Counts of a kind of trial of one case, to be added to."""
        start = {"tries": 0, "happened": 0, "problems": 0, "seconds": 0}
        return self.tries["trials"].setdefault(kind, {}).setdefault(case, start)

    def prepared(self, case: Case) -> tuple[dict[str, Any], float]:
        """Outputs of a case when nothing disturbs it, and the seconds that it takes."""
        folder = self.folder / f"{case.name}.reference"
        start = time.monotonic()
        reference = undisturbed(case, self.base, folder)
        remove(folder)
        return reference, time.monotonic() - start

    @property
    def base(self) -> Path:
        """Folder of the inputs of all cases."""
        return self.folder / "base"


def faults(night: Night) -> Iterator[Outcome]:
    """Every fault at every site of every case; on two ranks of each rank."""
    states = [state for case in night.cases for rank in range(case.size) for state in [_Faults(night, case, rank)]]
    while states:
        for state in list(states):
            outcome = state.try_next()
            if outcome is None:
                states.remove(state)
            else:
                yield outcome


class _Faults:
    """Faults of one case on one rank, in a fixed order."""

    def __init__(self, night: Night, case: Case, rank: int) -> None:
        self.night, self.case, self.rank = night, case, rank if case.size > 1 else None
        self.key = case.name if self.rank is None else f"{case.name}, rank {rank}"
        self.left: list[Fault] | None = None

    def try_next(self) -> Outcome | None:
        """The next trial; None once all faults were tried."""
        counts = self.night.counts("faults", self.key)
        if self.left is None:
            folder = self.night.folder / f"{self.case.name}.sites"
            found = every_fault(self.case, self.night.base, folder, self.rank)
            remove(folder)
            random.Random(0).shuffle(found)
            counts["sites"] = len({(fault.function, fault.path) for fault in found})
            counts["faults"], done = len(found), counts.get("position", 0) % len(found)
            self.left = found[done:]
            self.reference, _ = self.night.prepared(self.case)
        if not self.left:
            return None
        counts["position"] = counts.get("position", 0) + 1
        folder = self.night.folder / f"{self.case.name}.fault"
        outcome = try_fault(self.case, self.night.base, folder, self.left.pop(0), self.reference, self.rank)
        remove(folder)
        return outcome


def kills(night: Night) -> Iterator[Outcome]:
    """Kills of every case in turn, at random moments."""
    prepared = {case.name: night.prepared(case) for case in night.cases}
    for number in range(10**6):
        case = night.cases[number % len(night.cases)]
        folder = night.folder / f"{case.name}.kill"
        yield try_kill(case, night.base, folder, night.rng, *prepared[case.name])
        remove(folder)


def two_writers(night: Night) -> Iterator[Outcome]:
    """Two or three runs on one store in a bucket, held before each of their puts."""
    counts = {case: night.counts("two-writers", case) for case in TWO_WRITERS_CASES}
    left = {case: schedules(case)[counts[case].get("position", 0) :] for case in TWO_WRITERS_CASES}
    with trials(night.folder / "images") as tried:
        while any(left.values()):
            for case in filter(left.get, left):
                start, schedule, problem, held = time.monotonic(), left[case].pop(0), "", False
                try:
                    held = tried.follow(schedule)
                except AssertionError as error:
                    problem = str(error)
                counts[case]["schedules"] = len(schedules(case))
                counts[case]["position"] = counts[case].get("position", 0) + 1
                yield Outcome(case, repr(schedule), 0, held, problem, time.monotonic() - start)


def fuzz(night: Night) -> Iterator[Outcome]:
    """Tests that change stores, products and tables at random, with ten times the examples of `make test`."""
    for path in itertools.cycle(FUZZ_TESTS):
        seed, start = night.rng.randrange(2**32), time.monotonic()
        line = [sys.executable, "-m", "pytest", f"--hypothesis-seed={seed}", "-p", "no:cacheprovider", path]
        more = {**os.environ, "FUZZ_EXAMPLES": "1000"}
        done = subprocess.run(line, cwd=ROOT, env=more, capture_output=True, text=True, check=False)
        problem = done.stdout[-4000:] if done.returncode else ""
        yield Outcome(path, f"seed {seed}", done.returncode, True, problem, time.monotonic() - start)


def hosts(night: Night) -> Iterator[Outcome]:
    """Extractions on three hosts, of which one is cut off or frozen; every tenth with the times that users have."""
    if reason := missing():
        print(f"no trials on several hosts: {reason}")
        return
    archive = night.folder / "archive"
    archive.mkdir()
    make_archive(archive)
    with cluster(night.folder / "keys") as made:
        for number in range(10**6):
            trial, folder = draw_trial(night.rng, number), night.folder / "hosts"
            folder.mkdir()
            start, problem, happened = time.monotonic(), "", True
            try:
                try_to_cut(made, archive, folder, trial, users=number % 10 > 7)
            except TooLateError:
                happened = False
            except (AssertionError, subprocess.TimeoutExpired) as error:
                problem = str(error)
            case = f"extract{trial.suffix}, {trial.kind}"
            yield Outcome(case, str(trial), 75, happened=happened, problem=problem, seconds=time.monotonic() - start)
            remove(folder)


KINDS: dict[str, Callable[[Night], Iterator[Outcome]]] = {
    "faults": faults, "kills": kills, "two-writers": two_writers, "fuzz": fuzz, "hosts": hosts,
}  # fmt: skip
"""Kinds of trials: each yields outcomes until its share of the time is over, or nothing is left to try."""


def try_kinds(night: Night, kinds: list[str], seconds: float) -> list[Outcome]:
    """Try each kind for its share of the seconds; returns the outcomes with a problem."""
    problems = []
    for kind in kinds:
        end = time.monotonic() + seconds / len(kinds)
        for outcome in KINDS[kind](night):
            where = outcome.disturbance.rpartition(" on rank ")[2] if " on rank " in outcome.disturbance else ""
            counts = night.counts(kind, f"{outcome.case}, rank {where}" if where else outcome.case)
            counts["tries"] += 1
            counts["happened"] += outcome.happened
            counts["problems"] += bool(outcome.problem)
            counts["seconds"] = round(counts["seconds"] + outcome.seconds)
            statuses = counts.setdefault("statuses", {})
            statuses[str(outcome.status)] = statuses.get(str(outcome.status), 0) + 1
            if outcome.problem:
                problems.append(outcome)
                print(f"PROBLEM {outcome.case}: {outcome.disturbance}\n    {outcome.problem}\n", flush=True)
            if time.monotonic() > end:
                break
    return problems


def main() -> int:
    """Run a night; returns 1 if a trial had a problem."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--kind", choices=KINDS, help="only this kind of trial")
    parser.add_argument("--case", choices=CASES, action="append", help="only these cases")
    parser.add_argument(
        "--fault", type=Fault.parse, help="try this fault of one --case, as it was printed, and no more"
    )
    parser.add_argument("--tries", type=Path, default=TRIES, help="file to add the counts to")
    given = parser.parse_args()
    tries = json.loads(given.tries.read_text()) if given.tries.exists() else {"nights": [], "trials": {}}
    start = time.monotonic()
    with tempfile.TemporaryDirectory() as folder:
        cases = [CASES[name] for name in given.case or CASES]
        night = Night(Path(folder), random.Random(given.seed), cases, tries)
        night.base.mkdir()
        make_base(night.base)
        if given.fault:
            reference, _ = night.prepared(cases[0])
            print(try_fault(cases[0], night.base, night.folder / "fault", given.fault, reference))
            return 0
        problems = try_kinds(night, [given.kind] if given.kind else list(KINDS), given.minutes * 60)
    commit = subprocess.run(["git", "rev-parse", "--short", "HEAD"], capture_output=True, text=True).stdout.strip()
    tries["nights"].append({"seed": given.seed, "seconds": round(time.monotonic() - start), "commit": commit})
    given.tries.write_text(json.dumps(tries, indent=1) + "\n")
    for kind, cases_counts in tries["trials"].items():
        total = {key: sum(counts[key] for counts in cases_counts.values()) for key in ("tries", "happened", "problems")}
        print(f"{kind}: {total}")
    print(f"{len(problems)} problems tonight -> {given.tries}")
    return bool(problems)


if __name__ == "__main__":
    sys.exit(main())
