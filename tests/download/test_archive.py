"""Files of a record at Zenodo: fetched once, by ranges, as published; with faults of the server and killed runs."""

import hashlib
import json
import random
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from data_space.service import Fault

from etl.download import archive, fetch
from etl.download.run import download
from etl.exit_status import ExitStatus

RECORD = "10891137"
BIG, SMALL = "BigEarthNet-S2.tar.zst", "metadata.parquet"


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    """Pauses of this project's own are short; those of urllib3 stay."""
    monkeypatch.setattr(fetch, "_FIRST_PAUSE_S", 0.01)


@pytest.fixture
def files(space):
    """The files of the record of BigEarthNet version 2, by name."""
    data = random.Random(3)
    space.web.records.files[RECORD] = {
        BIG: data.randbytes(6 << 20),
        "BigEarthNet-S1.tar.zst": data.randbytes(3 << 20),
        "Reference_Maps.tar.zst": data.randbytes(100_000),
        SMALL: data.randbytes(20_000),
        "empty.csv": b"",
    }
    return space.web.records.files[RECORD]


@pytest.fixture
def settings(space, files, tmp_path):
    """A download of all files of version 2, two at a time."""
    url = space.web.zenodo_url
    return space.settings(archive="bigearthnet-v2", out=tmp_path / "archive", zenodo_url=url, connections=2)


def once(fault, name=BIG):
    """A fault of the first request for a file."""
    return lambda path, earlier: fault if path.endswith(f"/{name}/content") and earlier == 0 else None


def always(fault, name=BIG):
    """A fault of all requests for a file."""
    return lambda path, earlier: fault if path.endswith(f"/{name}/content") else None


def held(out):
    """Files in the folder, by name."""
    return {path.name: path.read_bytes() for path in out.iterdir() if path.is_file() and path.name != "download.json"}


def asked(space, name=BIG):
    """Range and If-Range of the requests for a file since the last call."""
    with space.web.lock:
        found = [one[1:] for one in space.web.records.asked if one[0] == name]
        space.web.records.asked.clear()
    return found


def test_all_files_are_fetched_once(space, settings, files, capsys):
    assert download(settings) == ExitStatus.DONE
    assert held(settings.out) == files
    assert "5 files fetched (9.1 MiB), 0 there already, 0 not available" in capsys.readouterr().out
    assert len(space.web.records.asked) == 5
    assert space.web.most_connections <= 2
    record = json.loads((settings.out / "download.json").read_text())
    assert record["counts"] == {"fetched": 5}
    assert {one["name"]: one["size_bytes"] for one in record["files"]} == {k: len(v) for k, v in files.items()}
    asked(space)
    assert download(settings) == ExitStatus.DONE
    assert space.web.records.asked == []
    assert not list(settings.out.rglob("*.part"))


def test_version_1_is_another_record(space, settings, tmp_path):
    space.web.records.files["12687186"] = {"BigEarthNet-S2-v1.0.tar.gz": b"patches"}
    assert download(replace(settings, archive="bigearthnet-v1")) == ExitStatus.DONE
    assert held(settings.out) == {"BigEarthNet-S2-v1.0.tar.gz": b"patches"}


def test_files_are_chosen_by_their_names(space, settings, files):
    assert download(replace(settings, archive_files="metadata.parquet, *Maps*")) == ExitStatus.DONE
    assert held(settings.out).keys() == {SMALL, "Reference_Maps.tar.zst"}
    with pytest.raises(ValueError, match=r"'\*\.csv\.gz' must match a file of the record, which has BigEarthNet-S1"):
        download(replace(settings, archive_files="*.parquet,*.csv.gz"))


def test_a_dry_run_tells_bytes_and_hours_and_writes_nothing(space, settings, files, capsys):
    settings = replace(settings, rate_mib=0.001)
    assert download(replace(settings, dry_run=True)) == ExitStatus.DONE
    out = capsys.readouterr().out
    assert f"{BIG}: 6,291,456 bytes, 6,291,456 to fetch" in out
    assert "5 files to fetch, 0.01 GiB; 2.5 hours at 0.001 MiB/s; 0 there already" in out
    assert not settings.out.exists()
    assert space.web.records.asked == []
    download(settings)
    capsys.readouterr()
    download(replace(settings, dry_run=True))
    assert "0 files to fetch, 0.00 GiB; 0.0 hours at 0.001 MiB/s; 5 there already" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("fault", "most"),
    [
        (Fault(status=429, retry_after="0"), 2),
        (Fault(status=503), 2),
        (Fault(cut_after=2_500_000), 2),
        (Fault(cut_after=0), 2),
        (Fault(drop=True), 2),
        (Fault(wrong_length=-10), 2),
        (Fault(wrong_length=10), 2),
        (Fault(corrupt=True), 2),
        (Fault(throttle_bytes_s=20_000_000), 1),
    ],
    ids=str,
)
def test_a_fault_that_passes_changes_nothing(space, settings, files, fault, most):
    space.web.fault = once(fault)
    assert download(settings) == ExitStatus.DONE
    assert held(settings.out) == files
    assert len(asked(space)) <= most


def test_a_server_that_asks_to_wait_is_given_the_time(space, settings, files):
    space.web.fault = once(Fault(status=429, retry_after="1"))
    start = time.monotonic()
    assert download(settings) == ExitStatus.DONE
    assert time.monotonic() - start > 0.9


@pytest.mark.parametrize("has_etags", [True, False])
def test_a_cut_connection_is_continued_from_where_it_broke(space, settings, files, has_etags):
    space.web.records.has_etags = has_etags
    space.web.fault = lambda path, earlier: (
        Fault(cut_after=2_000_000) if path.endswith(f"/{BIG}/content") and earlier < 2 else None
    )
    assert download(settings) == ExitStatus.DONE
    assert held(settings.out) == files
    (first, *others) = asked(space)
    starts = [int(text.removeprefix("bytes=").removesuffix("-")) for text, _ in others]
    assert first == ("", "")
    assert 1_000_000 < starts[0] <= 2_000_000 < starts[1] <= 4_000_000
    assert all(bool(condition) == has_etags for _, condition in others)


@pytest.mark.parametrize(
    ("fault", "message"),
    [
        (Fault(status=429, retry_after="0"), r"busy or broken \(status 429\)"),
        (Fault(status=503), r"busy or broken \(status 503\)"),
        (Fault(status=403), r"refuses it \(status 403\)"),
        (Fault(drop=True), "does not answer as it should"),
        (Fault(cut_after=0), "does not answer as it should"),
    ],
    ids=str,
)
def test_a_fault_that_stays_keeps_no_other_file_back_and_the_next_run_goes_on(space, settings, files, fault, message):
    space.web.fault = always(fault)
    with pytest.raises(ConnectionError, match=f"1 file not fetched, the first: .*{message}"):
        download(settings)
    assert held(settings.out).keys() == files.keys() - {BIG}
    space.web.fault = lambda path, earlier: None
    asked(space)
    assert download(settings) == ExitStatus.DONE
    assert held(settings.out) == files
    assert json.loads((settings.out / "download.json").read_text())["counts"] == {"present": 4, "fetched": 1}


def test_a_wrong_checksum_is_told_and_the_file_does_not_appear(space, settings, files):
    space.web.fault = always(Fault(corrupt=True))
    with pytest.raises(OSError, match=rf"{BIG} must have the MD5 \w+ as in http.*{RECORD}, got \w+, in 2 tries"):
        download(settings)
    assert held(settings.out).keys() == files.keys() - {BIG}
    assert not list(settings.out.rglob("*.part"))
    space.web.fault = lambda path, earlier: None
    assert download(settings) == ExitStatus.DONE
    assert held(settings.out) == files


def test_a_file_that_the_record_lists_but_is_not_there_is_told(space, settings, files):
    space.web.fault = always(Fault(status=404))
    with pytest.raises(OSError, match=r"1 file not fetched, the first: .* is not there \(status 404\)") as caught:
        download(settings)
    assert not isinstance(caught.value, ConnectionError)


def interrupt(space, settings, cut_after=4_000_000):
    """Fetch the beginning of the large file, and all others."""
    space.web.fault = lambda path, earlier: (
        (Fault(cut_after=cut_after) if earlier == 0 else Fault(status=403))
        if path.endswith(f"/{BIG}/content")
        else None
    )
    with pytest.raises(ConnectionError):
        download(settings)
    space.web.fault = lambda path, earlier: None
    asked(space)
    (part,) = settings.out.rglob("*.part")
    return part


@pytest.mark.parametrize("same_size", [True, False])
def test_a_file_that_was_replaced_between_two_runs_is_fetched_anew(space, settings, files, same_size):
    part = interrupt(space, settings)
    assert 3_000_000 < part.stat().st_size <= 4_000_000
    files[BIG] = random.Random(4).randbytes((6 << 20) - (not same_size))
    assert download(settings) == ExitStatus.DONE
    assert held(settings.out) == files
    assert asked(space) == [("", "")]
    assert not list(settings.out.rglob("*.part"))


def test_a_file_that_is_replaced_during_a_run_is_never_mixed(space, settings, files):
    old, new = files[BIG], random.Random(4).randbytes(6 << 20)
    space.web.records.checksums[BIG] = f"md5:{hashlib.md5(new).hexdigest()}"

    def fault(path, earlier):
        if path.endswith(f"/{BIG}/content"):
            files[BIG] = new if earlier else old
            return None if earlier else Fault(cut_after=3_000_000)
        return None

    space.web.fault = fault
    assert download(settings) == ExitStatus.DONE
    assert held(settings.out)[BIG] == new
    assert [bool(text) for text, _ in asked(space)] == [False, True, False]


def test_a_server_without_ranges_sends_the_file_again(space, settings, files):
    space.web.records.has_ranges = False
    interrupt(space, settings)
    assert download(settings) == ExitStatus.DONE
    assert held(settings.out) == files
    assert [bool(text) for text, _ in asked(space)] == [True, False]


def test_a_damaged_beginning_is_fetched_again(space, settings, files):
    part = interrupt(space, settings)
    part.write_bytes(bytes(part.stat().st_size))
    assert download(settings) == ExitStatus.DONE
    assert held(settings.out) == files
    assert [bool(text) for text, _ in asked(space)] == [True, False]


def test_a_beginning_that_is_whole_is_only_compared(space, settings, files):
    part = interrupt(space, settings)
    part.write_bytes(files[BIG])
    assert download(settings) == ExitStatus.DONE
    assert held(settings.out) == files
    assert asked(space) == []


def test_a_file_that_came_another_way_is_compared_and_kept_or_fetched(space, settings, files, caplog):
    settings.out.mkdir()
    (settings.out / BIG).write_bytes(files[BIG])
    (settings.out / SMALL).write_bytes(bytes(len(files[SMALL])))
    (settings.out / "Reference_Maps.tar.zst").write_bytes(b"beginning")
    assert download(settings) == ExitStatus.DONE
    assert held(settings.out) == files
    assert {one[0] for one in space.web.records.asked} == files.keys() - {BIG}
    assert f"{SMALL} must have the MD5" in caplog.text
    asked(space)
    caplog.clear()
    assert download(settings) == ExitStatus.DONE
    assert space.web.records.asked == []
    assert "reading it" not in caplog.text


def test_too_little_space_is_told_before_anything_is_fetched(space, settings, files, monkeypatch):
    monkeypatch.setattr(archive.shutil, "disk_usage", lambda path: SimpleNamespace(free=5_000_000))
    with pytest.raises(OSError, match=r"must have 9,557,184 bytes free for what is to be fetched, has 5,000,000; make"):
        download(settings)
    assert space.web.records.asked == []
    assert not settings.out.exists()
    assert download(replace(settings, archive_files="*S1*")) == ExitStatus.DONE


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"files": []}, "must answer with a record that has a list named files"),
        ({"files": [{"key": "../outside"}]}, "each file must have a key without a folder"),
        ({"files": [{"key": "a", "size": 3, "checksum": "sha1:00"}]}, "a checksum md5:"),
        ({"files": ["text"]}, "each file must have a key"),
    ],
)
def test_a_record_that_cannot_be_used_is_told(space, settings, change, message):
    space.web.records.describe = lambda number, url: (200, change)
    with pytest.raises(ConnectionError, match=message):
        download(settings)
    assert not settings.out.exists()


def test_a_record_that_is_not_there_is_bad_input(space, settings, files):
    space.web.records.files.clear()
    with pytest.raises(ValueError, match="answers with status 404"):
        download(settings)


def test_an_archive_is_fetched_into_a_folder_alone(settings):
    with pytest.raises(ValueError, match="--out must be a folder for --archive, got s3://bucket/archive"):
        replace(settings, out=Path("s3://bucket/archive"))
    with pytest.raises(ValueError, match="one of --catalogue, --area and --archive"):
        replace(settings, catalogue=Path("patches.parquet"))


def command(settings):
    paths = ["--archive", settings.archive, "--out", str(settings.out), "--zenodo-url", settings.zenodo_url]
    return [sys.executable, "-m", "etl.download", *paths, "--connections", str(settings.connections)]


def test_runs_that_share_a_folder_fetch_each_file_once(space, settings, files):
    space.web.fault = lambda path, earlier: Fault(delay_s=0.2) if path.endswith("/content") else None

    def run(_):
        return subprocess.run(command(settings), capture_output=True, text=True)

    with ThreadPoolExecutor() as pool:
        for done in pool.map(run, range(3)):
            assert done.returncode == 0, done.stderr
    assert held(settings.out) == files
    assert sorted(name for name, _, _ in space.web.records.asked) == sorted(files)
    assert space.web.most_connections <= 2


@pytest.mark.slow
def test_killed_runs_lose_no_more_than_what_is_on_its_way(space, settings, files):
    files[BIG] = random.Random(5).randbytes(60 << 20)
    most_lost = settings.connections * (4 << 20)  # a piece, and what the kernel holds of each connection
    space.web.fault = lambda path, earlier: Fault(throttle_bytes_s=20_000_000) if path.endswith("/content") else None
    moments, kept_before, finished = random.Random(7), 0, set[str]()
    for _ in range(12):
        with subprocess.Popen(command(settings), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as run:
            while not space.web.requests and run.poll() is None:
                time.sleep(0.01)
            time.sleep(moments.uniform(0, 0.8))
            run.send_signal(signal.SIGKILL)
        time.sleep(0.3)  # the server notices
        with space.web.lock:
            sent = sum(one.sent for one in space.web.requests if one.path.endswith("/content"))
            names = {name for name, _, _ in space.web.records.asked}
            space.web.requests.clear()
            space.web.records.asked.clear()
        assert not finished & names
        there = held(settings.out) if settings.out.exists() else {}
        assert there.items() <= files.items()
        finished = set(there)
        kept = sum(map(len, there.values())) + sum(path.stat().st_size for path in settings.out.rglob("*.part"))
        assert sent - (kept - kept_before) <= most_lost
        kept_before = kept
        if finished == set(files):
            break
    space.web.fault = lambda path, earlier: None
    assert download(settings) == ExitStatus.DONE
    assert held(settings.out) == files
