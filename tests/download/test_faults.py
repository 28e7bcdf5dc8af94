"""Faults of servers and runs that are killed: a clear message, and equal content in the end; nothing secret is told."""

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from data_space.service import DataSpace, Fault
from download_products import NAME, PASSWORD, SECRET_KEY, catalogue_of, fetch_four_products_by_three_runs, product

from etl.download import fetch, remote
from etl.download.run import download
from etl.exit_status import ExitStatus

BAND = "_B03_10m.jp2"

FINISHED = (".jp2", ".xml", ".safe")
"""Ends of the names of files that are there whole."""


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch):
    """Pauses of this project's own are short; those of urllib3 stay."""
    monkeypatch.setattr(fetch, "_FIRST_PAUSE_S", 0.01)


@pytest.fixture
def settings(space, tmp_path):
    """A download of one product over HTTP."""
    listed = catalogue_of(tmp_path / "patches.parquet", [NAME])
    return space.settings(catalogue=listed, out=tmp_path / "tiles", transfer="http")


@pytest.fixture
def offered(space, tmp_path):
    """The one product that the servers offer."""
    one = product(tmp_path / "served")
    space.serve(one)
    return one


def once(fault: Fault, end: str = f"{BAND})/$value"):
    """A fault of the first request for a path that ends so."""
    return lambda path, earlier: fault if path.endswith(end) and earlier == 0 else None


def always(fault: Fault, end: str = f"{BAND})/$value"):
    """A fault of all requests for a path that ends so."""
    return lambda path, earlier: fault if path.endswith(end) else None


@pytest.mark.parametrize(
    "fault",
    [
        Fault(status=401),
        Fault(status=429),
        Fault(status=500),
        Fault(status=503, retry_after="0"),
        Fault(cut_after=7_000),
        Fault(cut_after=0),
        Fault(wrong_length=10),
        Fault(wrong_length=-10),
        Fault(corrupt=True),
        Fault(drop=True),
        Fault(delay_s=0.3),
        Fault(throttle_bytes_s=100_000),
        Fault(expire_token_after=5_000),
    ],
    ids=str,
)
def test_a_fault_that_passes_changes_nothing(space, settings, offered, same_files, fault):
    space.web.fault = once(fault)
    assert download(settings) == ExitStatus.DONE
    same_files(settings.out, offered)
    assert sum(path.endswith(f"{BAND})/$value") for path in space.fetched()) <= 3


@pytest.mark.parametrize("end", ["Products", "token", "(manifest.safe)/$value"])
@pytest.mark.parametrize("fault", [Fault(status=503), Fault(drop=True), Fault(cut_after=20)], ids=str)
def test_a_fault_of_catalogue_tokens_or_manifest_that_passes_changes_nothing(
    space, settings, offered, same_files, fault, end
):
    space.web.fault = once(fault, end)
    if fault.cut_after and end == "Products":  # such an answer is asked for in a later run
        with pytest.raises(ConnectionError, match="the server does not answer as it should"):
            download(settings)
    assert download(settings) == ExitStatus.DONE
    same_files(settings.out, offered)


@pytest.mark.parametrize("form", ["seconds", "date"])
def test_a_server_that_asks_to_wait_is_given_the_time(space, settings, offered, form):
    # a date has whole seconds, so the next two may already have begun
    text = "1" if form == "seconds" else format_datetime(datetime.now(UTC) + timedelta(seconds=4), usegmt=True)
    space.web.fault = once(Fault(status=429, retry_after=text))
    start = time.monotonic()
    assert download(settings) == ExitStatus.DONE
    assert time.monotonic() - start > 0.9


@pytest.mark.parametrize(
    ("fault", "end", "message"),
    [
        (Fault(status=401), f"{BAND})/$value", r"refuses it \(status 401\)"),
        (Fault(status=403), f"{BAND})/$value", r"refuses it \(status 403\)"),
        (Fault(status=429), f"{BAND})/$value", r"busy or broken \(status 429\)"),
        (Fault(status=503), f"{BAND})/$value", r"busy or broken \(status 503\)"),
        (Fault(status=418), f"{BAND})/$value", "answers with status 418"),
        (Fault(cut_after=7_000), f"{BAND})/$value", "does not answer as it should"),
        (Fault(drop=True), f"{BAND})/$value", "does not answer as it should"),
        (Fault(redirect="/odata/v1/elsewhere"), "e", "at most 5 redirects"),
        (Fault(status=503, retry_after="0"), "token", r"busy or broken \(status 503\)"),
        (Fault(status=503, retry_after="0"), "Products", r"busy or broken \(status 503\)"),
        (Fault(drop=True), "Products", "does not answer as it should"),
    ],
    ids=str,
)
def test_a_fault_that_stays_is_told_and_the_next_run_goes_on(space, settings, offered, same_files, fault, end, message):
    space.web.fault = always(fault, end)
    with pytest.raises(ConnectionError, match=message):
        download(settings)
    before = space.fetched()
    assert not (settings.out / offered.folder).exists()
    if end != "Products":
        (one,) = json.loads((settings.out / "download.json").read_text())["products"]
        assert one["state"] == "failed"
    space.web.fault = lambda path, earlier: None
    assert download(settings) == ExitStatus.DONE
    same_files(settings.out, offered)
    asked = before + space.fetched()
    assert sum(path.endswith("(MTD_MSIL2A.xml)/$value") for path in asked) <= 2


@pytest.mark.parametrize(
    ("fault", "end", "message"),
    [
        (Fault(status=401), "token", r"gives no token \(status 401\); check CDSE_USERNAME"),
        (Fault(status=400), "Products", "answers with status 400"),
        (Fault(status=404), "Products", "answers with status 404"),
    ],
    ids=str,
)
def test_what_no_repetition_changes_is_bad_input(space, settings, offered, fault, end, message):
    space.web.fault = always(fault, end)
    with pytest.raises(ValueError, match=message):
        download(settings)


def test_a_product_that_fails_does_not_keep_others_back_but_three_in_a_row_end_the_run(space, settings, tmp_path):
    names = [NAME.replace("0613T", f"06{day:02d}T") for day in range(10, 18)]
    products = [product(tmp_path / "served", name) for name in names]
    space.serve(*products)
    settings = replace(settings, catalogue=catalogue_of(tmp_path / "all.parquet", names), connections=1)
    bad = products[0].uuid
    space.web.fault = lambda path, earlier: Fault(status=403) if bad in path else None
    with pytest.raises(ConnectionError, match=r"1 product not fetched, the first: .* refuses it \(status 403\)"):
        download(settings)
    assert {path.name for path in settings.out.glob("*.SAFE")} == {one.folder for one in products[1:]}
    shutil.rmtree(settings.out)
    space.web.fault = always(Fault(status=403), "$value")
    with pytest.raises(ConnectionError, match=r"\d products not fetched"):
        download(settings)
    record = json.loads((settings.out / "download.json").read_text())
    assert 3 <= record["counts"]["failed"] <= 5  # of eight: two are fetched at a time


@pytest.mark.parametrize(
    ("fault", "end", "state", "reason"),
    [
        (Fault(corrupt=True), f"{BAND})/$value", "damaged", "must have the MD5"),
        (Fault(corrupt=True), "(manifest.safe)/$value", "damaged", "manifest.safe"),
        (Fault(status=404), f"{BAND})/$value", "missing", "is not there (status 404)"),
    ],
    ids=str,
)
def test_a_product_that_the_service_has_only_in_part_is_reported(
    space, settings, offered, same_files, fault, end, state, reason
):
    space.web.fault = always(fault, end)
    assert download(replace(settings, strict=True)) == ExitStatus.REJECTED
    (one,) = json.loads((settings.out / "download.json").read_text())["products"]
    assert one["state"] == state
    assert reason in one["reason"]
    assert not (settings.out / offered.folder).exists()
    space.web.fault = lambda path, earlier: None
    assert download(settings) == ExitStatus.DONE
    same_files(settings.out, offered)


@pytest.mark.parametrize("name", ["../../outside.jp2", "/outside.jp2", "GRANULE/../../outside.jp2"])
def test_a_manifest_cannot_name_files_elsewhere(space, settings, offered, name):
    manifest = offered.read("manifest.safe").replace(b"./INSPIRE.xml", name.encode())
    space.serve(replace(offered, files={**offered.files, "manifest.safe": manifest}))
    assert download(replace(settings, files="all", strict=True)) == ExitStatus.REJECTED
    (one,) = json.loads((settings.out / "download.json").read_text())["products"]
    assert "must list up to 100000 files of the product" in one["reason"]
    assert not list(settings.out.parent.rglob("outside.jp2"))


def test_no_token_goes_to_another_server(space, settings, offered, same_files):
    with DataSpace([offered]) as other:
        other.tokens.is_valid = lambda authorization: True
        path = f"/odata/v1/Products({offered.uuid})/Nodes({offered.folder})/Nodes(manifest.safe)/$value"
        space.web.fault = always(Fault(redirect=f"http://localhost:{other.port}{path}"), "(manifest.safe)/$value")
        with pytest.raises(ConnectionError, match=r"refuses it \(status 401\)"):
            download(settings)
        assert [request.token for request in other.requests] == [False]
    space.fetched()
    space.web.fault = once(Fault(redirect=path), "(manifest.safe)/$value")
    assert download(settings) == ExitStatus.DONE
    same_files(settings.out, offered)


@pytest.mark.parametrize(
    ("address", "is_own"),
    [
        ("https://download.dataspace.copernicus.eu/odata/v1/x", True),
        ("https://zipper.dataspace.copernicus.eu/odata/v1/x", True),
        ("http://download.dataspace.copernicus.eu/odata/v1/x", False),
        ("https://copernicus.eu/x", False),
        ("https://dataspace.copernicus.eu.example.org/x", False),
        ("https://example.org/download.dataspace.copernicus.eu", False),
    ],
)
def test_tokens_go_to_servers_of_the_service_alone(address, is_own):
    files = remote.HttpFiles(lambda: None, None, "https://download.dataspace.copernicus.eu/odata/v1")
    assert files._is_own(address) == is_own


def test_what_netrc_holds_for_other_servers_is_never_sent(space, settings, offered, tmp_path):
    file = tmp_path / "no-netrc"
    file.write_text("default login somebody password something\n")
    file.chmod(0o600)
    with DataSpace([offered]) as other:
        for search in ("odata", "stac"):
            target = f"http://localhost:{other.port}/odata/v1/Products"
            space.web.fault = lambda path, earlier, target=target: Fault(redirect=target)
            with pytest.raises((ConnectionError, ValueError)):
                download(replace(settings, search=search, stac_url=space.web.odata_url))
        assert other.requests
        assert not any(request.token for request in (*other.requests, *space.web.requests))


def test_a_stac_service_that_is_busy_is_asked_again(space, settings):
    space.web.fault = lambda path, earlier: Fault(status=503, retry_after="0")
    with pytest.raises(ConnectionError, match="does not answer as it should"):
        download(replace(settings, search="stac", stac_url=f"{space.web.odata_url}/stac"))
    assert len(space.web.requests) == 3


def test_a_manifest_that_was_damaged_on_the_disk_is_fetched_again(space, settings, offered, same_files):
    download(settings)
    (settings.out / offered.folder / "manifest.safe").write_bytes(b"<broken")
    assert download(settings) == ExitStatus.DONE
    same_files(settings.out, offered)


def test_beginnings_of_files_that_are_no_longer_asked_for_do_not_get_into_the_product(
    space, settings, offered, same_files
):
    part = settings.out / ".download" / offered.folder / "INSPIRE.xml.part"
    part.parent.mkdir(parents=True)
    part.write_bytes(b"beginning")
    assert download(settings) == ExitStatus.DONE
    same_files(settings.out, offered)


def test_expired_tokens_are_renewed_all_the_time(space, settings, offered, same_files):
    space.web.tokens.token_s = 1
    space.web.fault = always(Fault(delay_s=0.2), "$value")
    assert download(replace(settings, connections=1)) == ExitStatus.DONE
    same_files(settings.out, offered)


def test_a_server_of_the_bucket_that_refuses_or_stops_is_told(space, settings, offered, same_files, monkeypatch):
    settings = replace(settings, transfer="s3")
    with space.bucket.lock:
        objects, space.bucket.objects = space.bucket.objects, {}
    assert download(replace(settings, strict=True)) == ExitStatus.REJECTED
    (one,) = json.loads((settings.out / "download.json").read_text())["products"]
    assert (one["state"], one["reason"].partition(".SAFE")[2]) == ("missing", " is not in the bucket")
    space.bucket.objects = objects
    stopped = threading.Event()

    def before(run, method, key):
        if key.endswith(BAND) or stopped.is_set():
            stopped.set()
            raise ConnectionResetError

    space.bucket.before = before
    with pytest.raises(ConnectionError, match="the server does not answer as it should"):
        download(settings)
    space.bucket.before = lambda run, method, key: None
    assert download(settings) == ExitStatus.DONE
    same_files(settings.out, offered)


def test_a_file_that_is_replaced_in_the_bucket_meanwhile_is_never_mixed(
    space, settings, offered, same_files, monkeypatch
):
    monkeypatch.setattr(remote, "_PART_BYTES", 5_000)
    key = next(key for key in space.bucket.objects if key.endswith(BAND))
    right, calls = space.bucket.objects[key], []
    space.bucket.objects[key] = bytes(len(right))

    def before(run, method, name):
        if name == key:
            calls.append(name)
            with space.bucket.lock:
                space.bucket.objects[key] = right if len(calls) > 1 else bytes(len(right))

    space.bucket.before = before
    assert download(replace(settings, transfer="s3")) == ExitStatus.DONE
    same_files(settings.out, offered)
    assert len(calls) == 2 + 4  # two of the first try, and four parts of the second


def command(space, settings, *flags: str) -> list[str]:
    paths = ["--catalogue", str(settings.catalogue), "--out", str(settings.out), "--transfer", settings.transfer]
    return [sys.executable, "-m", "etl.download", *paths, *space.flags(), *flags]


def kept_bytes(out: Path, has_ranges: bool) -> int:
    """Bytes of the files of products in a folder, and of beginnings of files if a run can go on from those."""
    total, kept = 0, (*FINISHED, ".part") if has_ranges else FINISHED
    for path in out.rglob("*"):
        with suppress(FileNotFoundError):
            total += path.stat().st_size if path.suffix in kept and path.is_file() else 0
    return total


@pytest.mark.slow
@pytest.mark.parametrize("transfer", ["s3", "http"])
def test_killed_runs_lose_one_part_or_file_of_each_connection_and_nothing_finished(
    space, settings, tmp_path, same_files, transfer
):
    settings = replace(settings, transfer=transfer)
    size = (20 << 20) if transfer == "s3" else (4 << 20)
    offered = product(tmp_path / "served", image_bytes=size)
    space.serve(offered)
    most_lost = settings.connections * ((8 << 20) if transfer == "s3" else size)
    space.bucket.before = lambda run, method, key: time.sleep(0.05 if key else 0)
    space.web.fault = lambda path, earlier: Fault(throttle_bytes_s=20_000_000) if path.endswith("$value") else None
    moments, finished = random.Random(7), set[str]()
    for _ in range(20):
        before = kept_bytes(settings.out, transfer == "s3")
        with subprocess.Popen(command(space, settings), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as run:
            while not space.web.requests and run.poll() is None:  # it starts
                time.sleep(0.01)
            time.sleep(moments.uniform(0, 0.5))
            run.send_signal(signal.SIGKILL)
        time.sleep(0.1)  # the servers notice
        with space.web.lock, space.bucket.lock:
            sent = sum(one.sent for one in space.web.requests if one.path.endswith("$value"))
            sent += sum(one.sent for one in space.bucket.requests if one.key)
        assert sent - (kept_bytes(settings.out, transfer == "s3") - before) <= most_lost
        asked = {path.removesuffix(")/$value").rpartition("(" if "(" in path else "/")[2] for path in space.fetched()}
        assert not finished & asked
        finished = {path.name for path in settings.out.rglob("*") if path.suffix in FINISHED}
        if (settings.out / offered.folder).exists():
            same_files(settings.out, offered)
            shutil.rmtree(settings.out)
            finished = set()
    assert download(settings) == ExitStatus.DONE
    same_files(settings.out, offered)


def test_runs_that_share_a_folder_share_products_and_connections(space, settings, tmp_path, same_files):
    names = [NAME.replace("0613T", f"06{day:02d}T") for day in range(10, 14)]
    products = [product(tmp_path / "served", name, image_bytes=200_000) for name in names]
    space.serve(*products)
    settings = replace(settings, catalogue=catalogue_of(tmp_path / "all.parquet", names), connections=3)
    space.web.fault = lambda path, earlier: Fault(delay_s=0.02) if path.endswith("$value") else None

    fetch_four_products_by_three_runs(space, command(space, settings, "--connections", "3"))
    for one in products:
        same_files(settings.out, one)


def test_an_interrupted_command_says_how_to_go_on(space, settings, offered, same_files):
    space.web.fault = lambda path, earlier: Fault(throttle_bytes_s=20_000) if path.endswith("$value") else None
    with subprocess.Popen(command(space, settings), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as run:
        while not any(one.path.endswith("$value") for one in list(space.web.requests)):
            time.sleep(0.02)
        run.send_signal(signal.SIGINT)
        _, err = run.communicate(timeout=60)
    assert run.returncode == ExitStatus.RESUMABLE, err
    assert "interrupted; the same command goes on where it stopped" in err
    space.web.fault = lambda path, earlier: None
    assert download(settings) == ExitStatus.DONE
    same_files(settings.out, offered)


@pytest.mark.parametrize(("transfer", "status"), [("s3", 0), ("http", 0), ("http", 401), ("http", 403), ("http", 503)])
def test_nothing_secret_is_told(space, settings, offered, transfer, status):
    if status:
        space.web.fault = always(Fault(status=status, retry_after="0"), "token" if status == 401 else "$value")
    tokens = []
    issue = space.web.tokens.issue
    space.web.tokens.issue = lambda form: tokens.append(answer := issue(form)) or answer
    settings = replace(settings, transfer=transfer)
    done = subprocess.run([*command(space, settings, "-v"), "--attempts", "2"], capture_output=True, text=True)
    expected = {0: ExitStatus.DONE, 401: ExitStatus.BAD_INPUT}.get(status, ExitStatus.RESUMABLE)
    assert done.returncode == expected, done.stderr
    texts = [done.stdout, done.stderr, *(path.read_text() for path in settings.out.rglob("*.json"))]
    secrets = [PASSWORD, quote(PASSWORD), quote_plus(PASSWORD), SECRET_KEY, space.web.tokens.username]
    secrets += [answer[name] for _, answer in tokens for name in ("access_token", "refresh_token") if name in answer]
    assert (len(secrets) > 5) == (transfer == "http" and status != 401)
    for text in texts:
        for secret in secrets:
            assert secret not in text
    assert os.environ["CDSE_PASSWORD"] == PASSWORD
