"""The state of a chain by its records, with the answers of squeue and sacct as small programs give them.

`tests/cluster/test_slurm.py` asks a real Slurm, which keeps no accounts.
"""

import json

import pytest

from etl.submit import slurm
from etl.submit.attempts import attempts_path
from etl.submit.record import ChainRecord, read_chain, write_chain
from etl.submit.status import print_status

NUMBERS = {"catalogue": "11", "extract": "12", "verify": "13"}


@pytest.fixture
def chain(tmp_path, monkeypatch):
    """The folder of a chain of three jobs, whose squeue and sacct list nothing."""
    monkeypatch.setattr(slurm, "_PAUSES_S", (0, 0))
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:/usr/bin:/bin")
    (tmp_path / "bin").mkdir()
    answer(tmp_path, squeue="", sacct="")
    write_chain(tmp_path, ChainRecord(NUMBERS, "", complete=True))
    return tmp_path


def answer(chain, **answers):
    """Have programs print these lines; None has one fail as it does when no controller answers."""
    for name, text in answers.items():
        path = chain / "bin" / name
        says = "echo 'error: Unable to contact slurm controller' >&2; exit 1"
        path.write_text(f"#!/bin/sh\n{says}\n" if text is None else f"#!/bin/sh\ncat <<'END'\n{text}END\n")
        path.chmod(0o755)


def note(chain, job, *entries):
    """Add lines to a job's attempts: (event, done, status, message)."""
    with attempts_path(chain, job).open("a") as file:
        for event, done, status, message in entries:
            line = {"id": NUMBERS[job], "event": event, "done": done, "text": f"{done} of 9 rows", "settings": ""}
            file.write(json.dumps({**line, "time": "2026-11-30T08:00:00+00:00", "status": status, "message": message}))
            file.write("\n")


def states(chain, capsys):
    """Exit status, and the state of each job with the words after it."""
    status = print_status(chain)
    lines = [line.split(maxsplit=5) for line in capsys.readouterr().out.splitlines()]
    return status, {line[0]: (line[2], line[5] if len(line) > 5 else "") for line in lines}


DONE = (("begin", 0, 0, ""), ("end", 9, 0, ""))


def test_a_chain_whose_jobs_all_ended_well_is_done(chain, capsys):
    for job in NUMBERS:
        note(chain, job, *DONE)
    status, found = states(chain, capsys)
    assert status == 0
    assert {state for state, _ in found.values()} == {"done"}


def test_jobs_in_the_queue_wait_or_run(chain, capsys):
    note(chain, "catalogue", *DONE)
    note(chain, "extract", ("begin", 0, 0, ""), ("end", 4, 75, "queued again"), ("begin", 4, 0, ""))
    answer(chain, squeue="99|PENDING|N/A|Priority\n12|RUNNING|2026-11-30T09:00:00|None\n13|PENDING|N/A|Dependency\n")
    status, found = states(chain, capsys)
    assert status == 75
    assert found["extract"] == ("running", "running since 2026-11-30T09:00:00; 4 of 9 rows so far")
    assert found["verify"] == ("waiting", "Dependency")


def test_a_job_that_is_queued_again_is_neither_done_nor_failed(chain, capsys):
    note(chain, "extract", ("begin", 0, 0, ""), ("end", 4, 75, "stopped"))
    answer(chain, squeue="12|PENDING|2026-11-30T09:00:00|BeginTime\n")
    assert states(chain, capsys)[1]["extract"] == (
        "waiting",
        "BeginTime, expected to begin 2026-11-30T09:00:00; 4 of 9 rows so far",
    )


def test_a_job_that_failed_says_why_and_later_ones_are_cancelled(chain, capsys):
    note(chain, "catalogue", *DONE)
    note(chain, "extract", ("begin", 0, 0, ""), ("end", 0, 2, "failed with status 2"))
    status, found = states(chain, capsys)
    assert status == 1
    assert found["extract"] == ("failed", "failed with status 2")
    assert found["verify"][0] == "cancelled"


@pytest.mark.parametrize("state", ["TIMEOUT", "NODE_FAIL", "OUT_OF_MEMORY", "CANCELLED by 1000"])
def test_accounts_tell_how_a_job_ended_that_left_no_record_of_it(chain, capsys, state):
    note(chain, "extract", ("begin", 0, 0, ""))
    answer(chain, sacct=f"11|COMPLETED|0:0|00:01:00\n12|{state}|0:0|01:00:00\n13|CANCELLED|0:0|00:00:00\n")
    found = states(chain, capsys)[1]
    assert found["extract"][0] == "failed"
    assert found["extract"][1].startswith(f"{state.split()[0]} without a record of its end")
    assert found["verify"][1].startswith("CANCELLED: it has not begun")


def test_without_a_queue_the_records_tell_what_they_know(chain, capsys, caplog):
    note(chain, "catalogue", *DONE)
    note(chain, "extract", ("begin", 0, 0, ""))
    answer(chain, squeue=None, sacct=None)
    status, found = states(chain, capsys)
    assert status == 1
    assert "the queue cannot be asked" in caplog.text
    assert found["catalogue"][0] == "done"
    assert found["extract"] == ("unknown", "last recorded: begin 2026-11-30T08:00:00+00:00")


def test_a_controller_that_fails_once_is_asked_again(chain, capsys):
    answer(chain, squeue="12|RUNNING|2026-11-30T09:00:00|None\n")
    text = (chain / "bin/squeue").read_text()
    (chain / "bin/squeue").write_text(text.replace("#!/bin/sh\n", f"#!/bin/sh\nmkdir {chain}/asked && exit 1\n"))
    assert states(chain, capsys)[1]["extract"][0] == "running"


@pytest.mark.parametrize("text", ["", "[]", '{"numbers": 3, "settings": "", "complete": true}', "{", '{"numbers": {}}'])
def test_a_damaged_record_of_a_chain_is_refused(chain, text):
    (chain / "chain.json").write_text(text)
    with pytest.raises(ValueError, match=r"chain\.json must be the record of a chain"):
        read_chain(chain)
