"""Stores in a bucket, on a real S3 server on this machine: content, name clash, credentials, and a server that goes."""

import json
import os
import signal
import subprocess
import time
from pathlib import Path

import numpy as np
import pytest
from botocore.exceptions import ClientError
from buckets import BUCKET, copy_store, serve
from commands import begin, content, ranks, ranks_of, same
from object_server import ObjectServer

import etl
from etl.schema import SPLITS
from etl.store.lease import Lease
from etl.store.location import Location
from trainer.config import BandSelection
from trainer.data.selection import RowSelection, select_rows

PIXELS = ("data_10m", "data_20m", "data_60m", "data_super", "classes")

OUT = f"s3://{BUCKET}/store.zarr"


@pytest.fixture(scope="module")
def server():
    with serve() as running:
        yield running


def start(size, sample, out, server, *flags, **environment):
    """Begin an extraction into the bucket."""
    paths = ("--catalogue", str(sample / "patches.parquet"), "--source", str(sample / "tiles"), "--out", out)
    how = {"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    more = {**server.environment, **environment}
    return begin(size, "etl.extract", *paths, "--shard-rows", "32", *flags, environment=more, **how)


def extract(*given, **environment):
    """Run an extraction into the bucket to its end: (status, stdout, stderr)."""
    with start(*given, **environment) as job:
        out, err = job.communicate(timeout=200)
    return job.returncode, out, err


@pytest.fixture(scope="module")
def written(sample, server):
    """The store in the bucket, as three ranks write it, with requests that fail now and then."""
    server.door.turn_away = 3
    status, _, err = extract(3, sample, OUT, server, "--round-mib", "8")
    assert status == 0, err
    assert server.door.turn_away == 0
    return OUT


def test_the_store_in_the_bucket_is_the_store_in_a_file_though_requests_failed(written, server, reference, tmp_path):
    assert same(content(copy_store(server, "store.zarr", tmp_path)), content(reference))


def test_journal_record_and_rejected_list_lie_beside_it_and_the_lease_is_released(written, server):
    beside = {key for key in server.objects("") if "/" not in key}
    assert beside == {"store.zarr.journal", "store.zarr.lock", "store.json", "store.rejected.csv"}
    assert json.loads(server.objects("store.zarr.lock")[""])["released"] is True
    assert json.loads(server.objects("store.json")[""])["rejected"] == 0


def test_a_name_clash_is_refused_with_status_2_and_a_complete_store_is_left_alone(written, server, sample):
    status, _, err = extract(2, sample, OUT, server)
    assert status == 2
    assert f"{OUT} exists; name another --out, or complete it with --resume" in err
    status, out, _ = extract(1, sample, OUT, server, "--resume")
    assert status == 0
    assert f"{OUT} is complete" in out


def test_wrong_credentials_and_a_missing_bucket_are_refused_with_status_2(server, sample):
    status, _, err = extract(2, sample, f"s3://{BUCKET}/new.zarr", server, AWS_SECRET_ACCESS_KEY="wrong")
    assert status == 2
    assert (
        "the server refused the request (no or wrong credentials, or no permission for this bucket); set AWS_ACCESS"
        in err
    )
    assert "Traceback" not in err
    status, _, err = extract(1, sample, "s3://nowhere/new.zarr", server)
    assert status == 2
    assert "the bucket nowhere must be there; create it, or name another" in err


def test_credentials_are_found_in_the_aws_folder(server, sample, tmp_path):
    given = server.environment
    (tmp_path / "credentials").write_text(
        f"[etl]\naws_access_key_id = {given['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {given['AWS_SECRET_ACCESS_KEY']}\n"
    )
    (tmp_path / "config").write_text(f"[profile etl]\nregion = us-east-1\nendpoint_url = {given['AWS_ENDPOINT_URL']}\n")
    names = {"AWS_SHARED_CREDENTIALS_FILE": "credentials", "AWS_CONFIG_FILE": "config"}
    more = {name: str(tmp_path / file) for name, file in names.items()}
    gone = dict.fromkeys(("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_ENDPOINT_URL", "AWS_REGION"))
    status, out, err = extract(1, sample, OUT, server, "--resume", AWS_PROFILE="etl", **more, **gone)
    assert status == 0, err
    assert f"{OUT} is complete" in out


def test_a_server_that_goes_ends_all_ranks_with_75_and_the_store_is_resumed(server, sample, reference, tmp_path):
    out = f"s3://{BUCKET}/gone.zarr"
    with start(2, sample, out, server, "--round-mib", "4", "--sync-s", "0.2", AWS_MAX_ATTEMPTS="2") as job:
        until = time.monotonic() + 100
        while server.objects("gone.zarr.journal").get("", b"").count(b'"rows": [[') < 2 and time.monotonic() < until:
            time.sleep(0.05)
        server.door.close()
        try:
            _, err = job.communicate(timeout=120)
        finally:
            server.door.open()
    assert job.returncode == 75, err
    assert "the server does not answer as it should" in err
    assert "--resume completes the store" in err
    assert "Traceback" not in err
    status, _, err = extract(3, sample, out, server, "--resume")
    assert status == 0, err
    assert same(content(copy_store(server, "gone.zarr", tmp_path)), content(reference))


def test_who_reads_a_store_reads_it_in_the_bucket(written, server, reference, tmp_path, monkeypatch):
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    there = etl.open_store(written)
    assert there.attrs["complete"] == 1
    assert same({n: there[n].values for n in PIXELS}, {n: content(reference)[n] for n in PIXELS})
    rows = select_rows(Path(written), RowSelection((BandSelection("data_60m"),), "train"))
    stored = content(reference)
    assert np.array_equal(rows.store_rows, np.flatnonzero(stored["split"] == SPLITS.index("train")))
    assert np.array_equal(rows.reader.read("data_60m", rows.store_rows), stored["data_60m"][rows.store_rows])
    for command, *flags in (("etl.verify", written), ("etl.stats", written, "--out", str(tmp_path / "page.png"))):
        done = ranks(1, command, *flags, environment=server.environment)
        assert done.returncode == 0, done.stderr
    copy, back = f"s3://{BUCKET}/copy.zarr", tmp_path / "back.h5"
    server.client.put_object(Bucket=BUCKET, Key="copy.zarr/of-others", Body=b"kept")
    for one, other in ((written, copy), (copy, str(back))):
        done = ranks(1, "etl.convert", one, "--out", other, environment=server.environment)
        assert done.returncode == 0, done.stderr
        assert other in done.stdout
    assert same(content(back), stored)
    assert server.objects("copy.zarr/of-others") == {"": b"kept"}
    done = ranks(1, "etl.convert", str(back), "--out", copy, environment=server.environment)
    assert done.returncode == 2
    assert f"--out must not be there yet, got {copy}" in done.stderr
    done = ranks(1, "etl.stats", f"s3://{BUCKET}/none.zarr", environment=server.environment)
    assert done.returncode == 2
    assert f"s3://{BUCKET}/none.zarr must be a Zarr store" in done.stderr


@pytest.fixture
def reachable(server, monkeypatch):
    """The server, also for this process."""
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    return server


def test_the_server_of_the_tests_honours_conditions(server):
    put, key = server.client.put_object, {"Bucket": BUCKET, "Key": "conditions"}
    first = put(**key, Body=b"1", IfNoneMatch="*")["ETag"]
    for condition in ({"IfNoneMatch": "*"}, {"IfMatch": '"00000000000000000000000000000000"'}):
        with pytest.raises(ClientError, match="PreconditionFailed"):
            put(**key, Body=b"2", **condition)
    assert put(**key, Body=b"1", IfMatch=first)["ETag"] == first  # the same bytes give the same ETag
    assert put(**key, Body=b"3", IfMatch=first)["ETag"] != first
    server.client.delete_object(**key)


def test_a_lease_is_released_while_it_is_renewed(reachable):
    for _ in range(10):
        held = Lease(Location.parse(f"s3://{BUCKET}/held.zarr"), lease_s=0.04)
        held.acquire()
        time.sleep(0.05)
        held.release()
        assert json.loads(reachable.objects("held.zarr")[".lock"])["released"] is True


def test_a_lease_is_renewed_though_the_answer_to_a_renewal_was_lost(reachable):
    reachable.door.lose_answers = 1
    held = Lease(Location.parse(f"s3://{BUCKET}/lost.zarr"), lease_s=0.8)
    held.acquire(timeout_s=5.0)
    assert reachable.door.lose_answers == 0
    for lost in (1, 1, 0):
        reachable.door.lose_answers = lost
        before, until = reachable.objects("lost.zarr"), time.monotonic() + 20
        while reachable.objects("lost.zarr") == before and time.monotonic() < until:
            time.sleep(0.05)
        assert reachable.objects("lost.zarr") != before
        time.sleep(2.0)  # the request whose answer was lost has been tried again
        held.require_held()
    held.release()


def test_a_run_that_has_lost_its_lease_leaves_the_next_ones_alone(reachable):
    held = Lease(Location.parse(f"s3://{BUCKET}/taken.zarr"), lease_s=0.8)
    held.acquire()
    other = json.dumps({"host": "elsewhere", "pid": 1, "started": 0.0, "until": time.time() + 60}).encode()
    reachable.client.put_object(Bucket=BUCKET, Key="taken.zarr.lock", Body=other)
    time.sleep(1.0)
    with pytest.raises(ValueError, match=f"s3://{BUCKET}/taken.zarr.lock is held by another run"):
        Lease(Location.parse(f"s3://{BUCKET}/taken.zarr")).acquire(timeout_s=0.6)
    assert held.lost
    held.release()
    assert reachable.objects("taken.zarr") == {".lock": other}


def test_two_runs_never_write_one_store_at_once(server, sample):
    out = f"s3://{BUCKET}/both.zarr"
    with start(1, sample, out, server) as first:
        while not server.client.list_objects_v2(Bucket=BUCKET, Prefix="both.zarr.lock")["KeyCount"]:
            assert first.poll() is None
            time.sleep(0.01)
        first.send_signal(signal.SIGSTOP)
        with start(1, sample, out, server) as second:
            time.sleep(8)
            waits = second.poll() is None
            first.send_signal(signal.SIGCONT)
            _, err = first.communicate(timeout=200)
            assert first.returncode == 0, err
            _, err = second.communicate(timeout=200)
            assert waits
            assert second.returncode == 2
            assert "exists; name another --out" in err
    assert os.environ.get("AWS_ENDPOINT_URL") is None


def test_a_run_that_was_stopped_beyond_its_lease_changes_nothing_and_ends_with_75(server, sample, reference, tmp_path):
    """Three ranks are stopped; two others complete the store; then the three go on."""
    out, here = f"s3://{BUCKET}/stopped.zarr", Path(__file__).resolve().parents[1]
    environment = {**server.environment, "PYTHONPATH": f"{here.parent}:{here}"}
    paths = ("--catalogue", str(sample / "patches.parquet"), "--source", str(sample / "tiles"), "--out", out)
    flags = ("--shard-rows", "8", "--round-mib", "1", "--sync-s", "0.2")
    how = {"text": True, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with begin(3, "short_lease", *paths, *flags, environment=environment, **how) as first:
        until = time.monotonic() + 100
        while server.objects("stopped.zarr.journal").get("", b"").count(b"rows") < 3 and time.monotonic() < until:
            assert first.poll() is None
            time.sleep(0.02)
        stopped = ranks_of(first)
        for process in stopped:
            process.suspend()
        second = ranks(2, "short_lease", *paths, *flags, "--resume", environment=environment)
        assert second.returncode == 0, second.stderr
        left = server.objects("stopped.")
        assert json.loads(left["json"])["patches"] > 0  # the first run had rows left
        for process in stopped:
            process.resume()
        _, err = first.communicate(timeout=200)
    assert first.returncode == 75, err
    assert "another run has taken the store over" in err
    assert "Traceback" not in err
    assert server.objects("stopped.") == left
    assert same(content(copy_store(server, "stopped.zarr", tmp_path)), content(reference))


def test_a_server_that_ignores_conditions_is_refused_with_status_2(sample):
    with ObjectServer() as ignoring:
        ignoring.honours_conditions = False
        status, _, err = extract(2, sample, f"s3://{BUCKET}/store.zarr", ignoring)
        assert status == 2
        assert "the server must honour conditions of writes (If-Match, If-None-Match)" in err
        assert set(ignoring.objects) == {"store.zarr.lock"}


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"AWS_MAX_ATTEMPTS": "many"}, "AWS_MAX_ATTEMPTS must be a whole number from 1 to 1000, got 'many'"),
        ({"AWS_ENDPOINT_URL": "localhost:9000"}, "must be http:// or https:// and a server's name"),
    ],
)
def test_settings_that_cannot_be_used_end_a_run_with_status_2(server, sample, settings, words):
    status, _, err = extract(1, sample, f"s3://{BUCKET}/never.zarr", server, **settings)
    assert status == 2
    assert words in err
    assert "Traceback" not in err


def test_a_store_in_a_bucket_is_not_begun_without_shards(server, sample):
    status, _, err = extract(1, sample, f"s3://{BUCKET}/never.zarr", server, "--shard-rows", "0")
    assert status == 2
    assert "--shard-rows must be at least 1 for a store in a bucket, got 0" in err
