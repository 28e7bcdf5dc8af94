"""Products are put into a bucket: whole, checked, and once; the service's server and the bucket's share no key."""

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from buckets import BUCKET, serve
from commands import content, ranks, same
from data_space.products import served_products
from data_space.service import Fault
from download_products import NAME, SECRET_KEY, catalogue_of, fetch_four_products_by_three_runs, product
from object_server import ObjectServer

from etl import bucket_files
from etl.download.bucket import BucketTarget
from etl.download.run import download
from etl.exit_status import ExitStatus

OUT, TARGET_KEY, SERVICE_KEY = f"s3://{BUCKET}/archive", "key-of-the-target", "key-of-the-service"

UNREAD = ("INSPIRE.xml", "_B02_20m.jp2", "_TCI_10m.jp2")
"""Ends of the names of files that extraction does not read."""


@pytest.fixture
def target(space, monkeypatch, tmp_path):
    """A second server, whose settings are those of every bucket; those of the service have their own names."""
    with ObjectServer() as server:
        settings = {**server.environment, "AWS_ACCESS_KEY_ID": TARGET_KEY, "AWS_SESSION_TOKEN": "token-of-the-target"}
        keys = {"CDSE_ACCESS_KEY_ID": SERVICE_KEY, "CDSE_SECRET_ACCESS_KEY": SECRET_KEY}
        for name, value in {**settings, **keys, "XDG_CACHE_HOME": str(tmp_path / "cache")}.items():
            monkeypatch.setenv(name, value)
        bucket_files._store.cache_clear()
        yield server


@pytest.fixture
def offered(space, tmp_path):
    """The one product that the servers offer."""
    one = product(tmp_path / "served")
    space.serve(one)
    return one


@pytest.fixture
def settings(space, target, tmp_path):
    """A download of one product over S3 into the target."""
    listed = catalogue_of(tmp_path / "patches.parquet", [NAME])
    address = space.bucket.environment["AWS_ENDPOINT_URL"]
    return space.settings(catalogue=listed, out=Path(OUT), s3_url=address)


def held(server, offered):
    """Files of a product in the target, by path."""
    prefix = f"archive/{offered.folder}/"
    return {key.removeprefix(prefix): data for key, data in server.objects.items() if key.startswith(prefix)}


def files_of(offered, all_files=False):
    """Files of a product that are asked for, by path."""
    unread = () if all_files else UNREAD
    return {name: offered.read(name) for name in offered.files if not name.endswith(unread or "/")}


def puts(server):
    """Keys of objects that were put, or of which a part was, since the last call; in order."""
    with server.lock:
        found = [one.key.rpartition("/")[2] for one in server.requests if one.method == "PUT"]
        server.requests.clear()
    return found


@pytest.mark.parametrize("transfer", ["s3", "http"])
def test_a_product_is_put_once_and_whole_with_its_metadata_last(
    space, target, settings, offered, tmp_path, transfer, capsys
):
    settings = replace(settings, transfer=transfer)
    assert download(settings) == ExitStatus.DONE
    assert held(target, offered) == files_of(offered)
    assert len(space.fetched()) == 16
    assert puts(target)[-3:] == ["MTD_MSIL2A.xml", "manifest.safe", "download.json"]
    assert f"{OUT}: 1 product fetched (0.3 MiB), 0 there already" in capsys.readouterr().out
    assert json.loads(target.objects["archive/download.json"])["counts"] == {"fetched": 1}
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file() and path.suffix != ".lock"]
    assert download(settings) == ExitStatus.DONE
    assert space.fetched() == []
    assert puts(target) == ["download.json"]
    assert json.loads(target.objects["archive/download.json"])["counts"] == {"present": 1}


def test_each_server_is_asked_with_its_own_key(space, target, settings, offered):
    assert download(settings) == ExitStatus.DONE
    assert {one.key_id for one in target.requests} == {TARGET_KEY}
    assert {one.key_id for one in space.bucket.requests} == {SERVICE_KEY}
    assert {one.token for one in space.bucket.requests} == {""}
    assert {one.token for one in target.requests} == {"token-of-the-target"}


def test_a_public_server_of_the_service_is_asked_without_a_key(space, target, settings, offered, monkeypatch):
    monkeypatch.delenv("CDSE_ACCESS_KEY_ID")
    monkeypatch.delenv("CDSE_SECRET_ACCESS_KEY")
    with pytest.raises(ValueError, match=r"AWS_\* are those of --out; for the service set CDSE_ACCESS_KEY_ID and"):
        download(settings)
    monkeypatch.setenv("CDSE_NO_SIGN_REQUEST", "YES")
    assert download(settings) == ExitStatus.DONE
    assert {one.key_id for one in space.bucket.requests} == {""}
    assert {one.key_id for one in target.requests} == {TARGET_KEY}
    monkeypatch.setenv("CDSE_ACCESS_KEY_ID", SERVICE_KEY)
    with pytest.raises(ValueError, match="must be set together"):
        download(settings)


def test_all_files_are_added_to_those_that_are_there(space, target, settings, offered):
    download(settings)
    space.fetched(), puts(target)
    assert download(replace(settings, files="all")) == ExitStatus.DONE
    assert held(target, offered) == files_of(offered, all_files=True)
    assert len(space.fetched()) == 3
    assert len(puts(target)) == 3 + 1


@pytest.mark.parametrize("change", ["removed", "without a checksum", "of another checksum", "of another size"])
def test_what_is_not_known_to_be_the_file_of_the_manifest_is_put_again(space, target, settings, offered, change):
    download(settings)
    space.fetched(), puts(target)
    key = next(key for key in target.objects if key.endswith("_B03_10m.jp2"))
    if change == "removed":
        del target.objects[key]
    elif change == "without a checksum":
        target.objects[key], target.metadata[key] = bytes(len(target.objects[key])), {}
    elif change == "of another size":
        target.objects[key] = target.objects[key][:-1]
    else:
        ((name, text),) = target.metadata[key].items()
        target.metadata[key] = {name: text.replace("MD5 ", "MD5 0").replace("SHA3-256 ", "SHA3-256 0")}
    assert download(settings) == ExitStatus.DONE
    assert held(target, offered) == files_of(offered)
    assert [path.rpartition("/")[2] for path in space.fetched()] == [key.rpartition("/")[2]]
    assert puts(target) == [key.rpartition("/")[2], "download.json"]


def test_a_manifest_that_is_damaged_in_the_bucket_is_fetched_again(space, target, settings, offered):
    download(settings)
    space.fetched()
    target.objects[f"archive/{offered.folder}/manifest.safe"] = b"<broken"
    assert download(settings) == ExitStatus.DONE
    assert held(target, offered) == files_of(offered)
    assert [path.rpartition("/")[2] for path in space.fetched()] == ["manifest.safe"]


def test_another_machine_fetches_what_is_not_in_the_bucket(space, target, settings, offered, monkeypatch, tmp_path):
    space.bucket.before = stop_after(8)
    with pytest.raises(ConnectionError):
        download(settings)
    there = {name.rpartition("/")[2] for name in held(target, offered)}
    assert there
    assert not there & {"MTD_MSIL2A.xml", "manifest.safe"}
    space.bucket.before = lambda run, method, key: None
    space.fetched()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "other"))
    assert download(settings) == ExitStatus.DONE
    assert held(target, offered) == files_of(offered)
    assert not there & {path.rpartition("/")[2] for path in space.fetched()}


def stop_after(requests, keys=".jp2"):
    """What ends each connection for keys that end so, but the first few."""
    seen = []

    def before(run, method, key):
        if key.endswith(keys):
            seen.append(key)
            if len(seen) > requests:
                raise ConnectionResetError

    return before


def test_a_wrong_checksum_is_never_put(space, target, settings, offered):
    key = next(key for key in space.bucket.objects if key.endswith("_B03_10m.jp2"))
    space.bucket.objects[key] = bytes(len(space.bucket.objects[key]))
    assert download(replace(settings, strict=True)) == ExitStatus.REJECTED
    assert "must have the" in json.loads(target.objects["archive/download.json"])["products"][0]["reason"]
    assert not [name for name in puts(target) if name.endswith(("_B03_10m.jp2", "manifest.safe", "MTD_MSIL2A.xml"))]
    space.serve(offered)
    assert download(settings) == ExitStatus.DONE
    assert held(target, offered) == files_of(offered)


def test_an_upload_that_fails_leaves_no_part_and_its_file_is_not_fetched_again(space, target, settings, tmp_path):
    offered = product(tmp_path / "served", image_bytes=20 << 20)
    space.serve(offered)
    target.before = stop_after(1, "_B03_10m.jp2")  # its first request begins an upload
    with pytest.raises(ConnectionError, match=r"1 product not fetched, .*_B03_10m.jp2: the server does not answer"):
        download(settings)
    assert target.uploads  # the request that aborts it cannot come through, either
    assert not any(target.uploads.values())
    target.uploads.clear()
    first = Counter(space.fetched())
    calls = []

    def part_fails(run, method, key):
        calls.extend([key] * (method == "PUT" and key.endswith("_B03_10m.jp2")))
        if len(calls) > 1 and calls[-1] == key and method == "PUT":
            raise ConnectionResetError

    target.before = part_fails
    with pytest.raises(ConnectionError, match="1 product not fetched"):
        download(settings)
    assert target.uploads == {}
    assert not [name for name in held(target, offered) if name.endswith("_B03_10m.jp2")]
    target.before = lambda run, method, key: None
    assert download(settings) == ExitStatus.DONE
    assert held(target, offered) == files_of(offered)
    assert target.uploads == {}
    assert sum((first + Counter(space.fetched())).values()) == 1 + 2 + 13 * 3  # a request for each 8 MiB
    assert len({name for name in first if name.endswith("_B03_10m.jp2")}) == 1


@pytest.mark.parametrize("transfer", ["s3", "http"])
def test_a_dry_run_looks_into_the_bucket_and_writes_nothing(
    space, target, settings, offered, capsys, tmp_path, transfer
):
    settings = replace(settings, transfer=transfer)
    assert download(replace(settings, dry_run=True)) == ExitStatus.DONE
    assert "1 product to fetch" in capsys.readouterr().out
    assert not target.objects
    assert not (tmp_path / "cache").exists()
    download(settings)
    assert download(replace(settings, dry_run=True)) == ExitStatus.DONE
    assert "0 products to fetch, about 0.00 GiB; 0.0 hours at 20 MiB/s; 1 there already" in capsys.readouterr().out


@pytest.mark.parametrize("out", ["s3://", f"s3://{BUCKET}/a/../b"])
def test_an_address_must_name_a_bucket(space, target, tmp_path, out):
    with pytest.raises(ValueError, match="--out in a bucket must be s3://BUCKET/PREFIX without"):
        space.settings(catalogue=tmp_path / "none", out=Path(out))


def test_a_cache_that_cannot_be_written_is_told(space, target, settings, offered, monkeypatch, tmp_path):
    (tmp_path / "file").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
    with pytest.raises(OSError, match="must be a folder that can be written: Not a directory; set XDG_CACHE_HOME"):
        download(settings)


def command(space, settings, *flags):
    paths = ["--catalogue", str(settings.catalogue), "--out", OUT, "--s3-url", settings.s3_url]
    return [sys.executable, "-m", "etl.download", *paths, "--transfer", settings.transfer, *space.flags(), *flags]


def test_runs_on_one_machine_share_products_and_connections(space, target, settings, tmp_path):
    names = [NAME.replace("0613T", f"06{day:02d}T") for day in range(10, 14)]
    products = [product(tmp_path / "served", name, image_bytes=200_000) for name in names]
    space.serve(*products)
    listed = catalogue_of(tmp_path / "all.parquet", names)
    settings = replace(settings, catalogue=listed, transfer="http", connections=3)
    space.web.fault = lambda path, earlier: Fault(delay_s=0.02) if path.endswith("$value") else None

    fetch_four_products_by_three_runs(space, command(space, settings, "--connections", "3"))
    for one in products:
        assert held(target, one) == files_of(one)


@pytest.mark.slow
@pytest.mark.parametrize("transfer", ["s3", "http"])
def test_killed_runs_put_only_whole_files_and_fetch_nothing_finished_again(space, target, settings, tmp_path, transfer):
    settings, size = replace(settings, transfer=transfer), 20 << 20 if transfer == "s3" else 10 << 20
    offered = product(tmp_path / "served", image_bytes=size)
    space.serve(offered)
    most_lost = settings.connections * ((8 << 20) if transfer == "s3" else size)
    space.bucket.before = lambda run, method, key: time.sleep(0.05 if key else 0)
    target.before = lambda run, method, key: time.sleep(0.05 if method == "PUT" else 0)
    space.web.fault = lambda path, earlier: Fault(throttle_bytes_s=50_000_000) if path.endswith("$value") else None
    kept, whole = (".jp2", ".xml", ".safe"), files_of(offered)
    moments, sent, runs = random.Random(7), 0, 0
    while runs < 8:
        before, runs = set(held(target, offered)), runs + 1
        with subprocess.Popen(command(space, settings), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as run:
            while not space.web.requests and run.poll() is None:
                time.sleep(0.01)
            time.sleep(moments.uniform(0, 0.8))
            run.send_signal(signal.SIGKILL)
        time.sleep(0.1)
        with space.web.lock, space.bucket.lock:
            sent += sum(one.sent for one in space.web.requests if one.path.endswith("$value"))
            sent += sum(one.sent for one in space.bucket.requests if one.key)
        asked = {path.removesuffix(")/$value").rpartition("(" if "(" in path else "/")[2] for path in space.fetched()}
        spool = [path for path in (tmp_path / "cache").rglob("*") if path.suffix in (*kept, ".part")]
        assert not {name.rpartition("/")[2] for name in before} & asked
        with target.lock:
            there = held(target, offered)
        assert all(whole[name] == data for name, data in there.items())
        ends = kept + (".part",) * (transfer == "s3")
        size_kept = sum(path.stat().st_size for path in spool if path.suffix in ends)
        size_kept += sum(map(len, there.values()))
        assert sent - size_kept <= runs * most_lost
        if "manifest.safe" in there:
            assert there == whole
            break
    assert download(settings) == ExitStatus.DONE
    assert held(target, offered) == whole


@pytest.mark.parametrize("kind", [signal.SIGINT, signal.SIGTERM])
def test_a_run_that_is_interrupted_withdraws_its_uploads(space, target, settings, tmp_path, kind):
    offered = product(tmp_path / "served", image_bytes=20 << 20)
    space.serve(offered)
    target.before = lambda run, method, key: time.sleep(0.5 if method == "PUT" else 0)
    with subprocess.Popen(command(space, settings), stderr=subprocess.PIPE, text=True) as run:
        while not any(list(target.uploads.values())) and run.poll() is None:
            time.sleep(0.02)
        run.send_signal(kind)
        _, err = run.communicate(timeout=60)
    assert run.returncode == ExitStatus.RESUMABLE, err
    assert target.uploads == {}
    target.before = lambda run, method, key: None
    assert download(settings) == ExitStatus.DONE
    assert held(target, offered) == files_of(offered)


def test_nothing_secret_is_told(space, target, settings, offered, monkeypatch, tmp_path):
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-target")
    target.before = stop_after(3)
    done = subprocess.run([*command(space, settings, "-v"), "--attempts", "2"], capture_output=True, text=True)
    assert done.returncode == ExitStatus.RESUMABLE, done.stderr
    texts = [done.stdout, done.stderr, target.objects["archive/download.json"].decode(), repr(target.metadata)]
    for secret in ("secret-of-the-target", SECRET_KEY, TARGET_KEY, SERVICE_KEY, "token-of-the-target"):
        assert not any(secret in text for text in texts)


def test_extraction_from_the_bucket_gives_the_rows_of_the_sample(space, sample, reference, tmp_path, monkeypatch):
    offered = served_products(sample / "tiles")
    space.serve(*offered)
    address = space.bucket.environment["AWS_ENDPOINT_URL"]
    settings = space.settings(catalogue=sample / "patches.parquet", out=Path(OUT), s3_url=address)
    with serve() as real:
        keys = {"CDSE_ACCESS_KEY_ID": SERVICE_KEY, "CDSE_SECRET_ACCESS_KEY": SECRET_KEY}
        for name, value in {**real.environment, **keys, "XDG_CACHE_HOME": str(tmp_path)}.items():
            monkeypatch.setenv(name, value)
        bucket_files._store.cache_clear()
        assert download(settings) == ExitStatus.DONE
        for one in offered:
            there = real.objects(f"archive/{one.folder}/")
            assert there.items() <= files_of(one).items()
            assert len(there) == 16
        space.fetched()
        assert download(settings) == ExitStatus.DONE
        assert space.fetched() == []
        line = ("--catalogue", str(sample / "patches.parquet"), "--source", OUT, "--out", str(tmp_path / "store.h5"))
        done = ranks(2, "etl.extract", *line)
        assert done.returncode == 0, done.stderr
        assert same(content(tmp_path / "store.h5"), content(reference))
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "not-the-secret")
        bucket_files._store.cache_clear()
        with pytest.raises(ConnectionError, match="the server refused the request; set AWS_ACCESS_KEY_ID"):
            download(settings)
        monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", real.environment["AWS_SECRET_ACCESS_KEY"])
        bucket_files._store.cache_clear()
        with pytest.raises(ValueError, match="the bucket nowhere must be there; create it"):
            download(replace(settings, out=Path("s3://nowhere/archive")))


def test_buckets_and_servers_have_folders_of_their_own(monkeypatch):
    states = set()
    for address in ("http://127.0.0.1:1", "http://127.0.0.1:2"):
        monkeypatch.setenv("AWS_ENDPOINT_URL", address)
        states |= {BucketTarget(Path(out), 4).state for out in ("s3://a/b", "s3://a/c", "s3://b/b")}
    assert len(states) == 6
