"""Products in a bucket give the same rows as on a disk, and no more is fetched of them than is wanted."""

import shutil
import time
from collections import Counter

import pyarrow.parquet as pq
import pytest
from bad_input import errors
from buckets import BUCKET, serve
from commands import content, ranks, same
from object_server import ObjectServer

from benchmarks.eopf_products import convert_all


def files_below(folder):
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def objects(sample, tmp_path_factory):
    """The sample's products, in SAFE and in Zarr, by key."""
    zarrs = convert_all(sample / "tiles", tmp_path_factory.mktemp("zarr"))
    return {
        **{f"safe/{name}": data for name, data in files_below(sample / "tiles").items()},
        **{f"zarr/{name}": data for name, data in files_below(zarrs).items()},
    }


@pytest.fixture
def server(objects, tmp_path):
    """A server that counts, with the products, and a cache folder of its own."""
    with ObjectServer() as made:
        made.objects |= objects
        made.environment["XDG_CACHE_HOME"] = str(tmp_path / "cache")
        yield made


def extract(size, sample, out, source, environment, *flags):
    catalogue = ("--catalogue", str(sample / "patches.parquet"))
    line = ("etl.extract", *catalogue, "--source", f"s3://{BUCKET}/{source}", "--out", str(out), *flags)
    return ranks(size, *line, environment=environment)


@pytest.mark.parametrize(("source", "size"), [("safe", 1), ("safe", 7), ("zarr", 3)])
def test_rows_are_those_of_products_on_a_disk(sample, server, reference, tmp_path, source, size):
    done = extract(size, sample, tmp_path / "store.h5", source, server.environment)
    assert done.returncode == 0, done.stderr
    assert same(content(tmp_path / "store.h5"), content(reference))


def test_a_real_server_that_asks_for_signatures(sample, objects, reference, tmp_path):
    with serve() as real:
        for key, data in objects.items():
            if key.startswith("safe/"):
                real.client.put_object(Bucket=BUCKET, Key=key, Body=data)
        environment = {**real.environment, "XDG_CACHE_HOME": str(tmp_path)}
        done = extract(2, sample, tmp_path / "store.h5", "safe", environment)
        assert done.returncode == 0, done.stderr
        assert same(content(tmp_path / "store.h5"), content(reference))
        wrong = {**environment, "AWS_SECRET_ACCESS_KEY": "not-the-secret"}
        done = extract(2, sample, tmp_path / "other.h5", "safe", wrong)
        assert done.returncode == 75
        assert "the server refused the request; set AWS_ACCESS_KEY_ID" in errors(done)[0]
        assert not any(
            word in done.stdout + done.stderr for word in ("not-the-secret", environment["AWS_ACCESS_KEY_ID"])
        )


def images_of(server):
    """Requests for images and bytes that they gave, by key."""
    asked = [request for request in server.requests if request.key.endswith(".jp2")]
    sent = Counter()
    for request in asked:
        sent[request.key] += request.sent
    return Counter(request.key for request in asked), sent


def test_each_file_takes_few_requests_once_its_parts_are_known(sample, server, tmp_path):
    assert extract(1, sample, tmp_path / "first.h5", "safe", server.environment).returncode == 0
    assert max(images_of(server)[0].values()) > 3
    server.requests.clear()
    assert extract(1, sample, tmp_path / "second.h5", "safe", server.environment).returncode == 0
    asked, sent = images_of(server)
    assert set(asked.values()) == {1}  # all four blocks of a file are neighbours
    assert all(sent[key] <= len(server.objects[key]) for key in sent)


def test_the_parts_of_all_files_of_a_product_are_looked_for_at_once(sample, server, tmp_path):
    now, most = Counter(), Counter()

    def wait(run, method, name):
        if name.endswith(".jp2"):
            product = name.split("/")[1]
            now[product] += 1
            most[product] = max(most[product], now[product])
            time.sleep(0.02)
            now[product] -= 1

    server.before = wait
    assert extract(1, sample, tmp_path / "first.h5", "safe", server.environment).returncode == 0
    assert min(most.values()) > 6, most


def test_only_blocks_that_are_wanted_are_fetched(sample, server, tmp_path):
    catalogue = pq.read_table(sample / "patches.parquet")
    cells = [name.rsplit("_", 2)[1:] for name in catalogue["patch"].to_pylist()]
    few = catalogue.filter([int(column) < 3 and int(row) < 3 for column, row in cells])
    archive = tmp_path / "archive"
    archive.mkdir()
    pq.write_table(few, archive / "patches.parquet")
    shutil.copytree(sample / "tiles", archive / "tiles")
    for out in ("first.h5", "second.h5"):
        server.requests.clear()
        assert extract(1, archive, tmp_path / out, "safe", server.environment).returncode == 0
    asked, sent = images_of(server)
    ten = [key for key in asked if key.endswith("_B02_10m.jp2")]
    assert len(ten) == 3
    assert all(sent[key] < 0.75 * len(server.objects[key]) for key in ten)  # one block of 1024 px of 1320
    line = ("--catalogue", str(archive / "patches.parquet"), "--source", str(archive / "tiles"))
    assert ranks(1, "etl.extract", *line, "--out", str(tmp_path / "disk.h5")).returncode == 0
    assert same(content(tmp_path / "second.h5"), content(tmp_path / "disk.h5"))


def test_a_file_that_is_replaced_while_it_is_read_rejects_its_patches(sample, server, tmp_path):
    key = next(key for key in server.objects if key.endswith("_B02_10m.jp2"))

    def replace(run, method, name):
        if name == key:
            server.objects[key] += b"\0"

    server.before = replace
    done = extract(1, sample, tmp_path / "store.h5", "safe", server.environment)
    assert "was replaced while it was read" in done.stdout + done.stderr + (tmp_path / "store.rejected.csv").read_text()


def test_a_server_that_stops_answering_ends_the_run_and_another_resumes_it(sample, server, reference, tmp_path):
    store, asked = tmp_path / "store.h5", Counter()
    assert extract(1, sample, tmp_path / "first.h5", "safe", server.environment).returncode == 0

    def hang_up(run, method, name):
        asked["images"] += name.endswith(".jp2")
        if asked["images"] > 20:
            raise ConnectionResetError

    server.before = hang_up
    done = extract(2, sample, store, "safe", {**server.environment, "AWS_MAX_ATTEMPTS": "1"})
    assert done.returncode == 75, done.stderr
    assert "the server does not answer as it should" in done.stderr
    assert "--resume completes the store" in done.stderr
    server.before = lambda run, method, name: None
    done = extract(2, sample, store, "safe", server.environment, "--resume")
    assert done.returncode == 0, done.stderr
    assert same(content(store), content(reference))


def test_catalogue_and_verification_read_from_a_bucket(server, reference, tmp_path):
    cells = str(tmp_path / "cells.parquet")
    done = ranks(1, "etl.catalogue", "--source", f"s3://{BUCKET}/zarr", "--out", cells, environment=server.environment)
    assert done.returncode == 0, done.stderr
    assert "363 patches of 3 products" in done.stdout
    line = ("etl.verify", str(reference), "--source", f"s3://{BUCKET}/safe", "--sample", "20")
    done = ranks(1, *line, environment=server.environment)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.mark.parametrize(
    ("source", "environment", "status", "message"),
    [
        ("nothing", {}, 2, "--source must hold products"),
        ("safe", {"AWS_ENDPOINT_URL": "ftp://example.org"}, 2, "AWS_ENDPOINT_URL"),
        ("safe", {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}, 75, "the server does not answer as it should"),
    ],
)
def test_what_is_wrong_with_a_bucket_is_told(sample, server, tmp_path, source, environment, status, message):
    given = {**server.environment, "AWS_MAX_ATTEMPTS": "1", **environment}
    done = extract(1, sample, tmp_path / "store.h5", source, given)
    assert done.returncode == status, done.stderr
    assert message in errors(done)[0]


def test_zip_files_and_patches_in_a_bucket_are_passed_over(sample, server, tmp_path):
    patch = "S2A_MSIL2A_20170613T101031_0_0"
    name = "S2A_MSIL2A_20170613T101031_N0205_R022_T33UUP_20170613T101608.SAFE.zip"
    server.objects = {f"odd/{name}": b"PK", f"odd/patches/{patch}/{patch}_B02.tif": b"II"}
    done = extract(1, sample, tmp_path / "store.h5", "odd", server.environment, "-v")
    assert done.returncode == 2
    assert "is a zip file in a bucket; unpack it there, or copy it to a disk" in done.stderr
    assert "holds patches, which are read from a disk only" in done.stderr
