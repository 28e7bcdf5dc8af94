"""Settings of the bucket's server: what cannot be used is named, whatever the server would answer."""

import pytest

import etl
from etl import aws
from etl.aws import AwsSettingError
from etl.store.location import Location
from etl.store.object_store import read_objects, tensorstore_context


@pytest.fixture(autouse=True)
def no_settings(monkeypatch, tmp_path):
    for name in ("AWS_MAX_ATTEMPTS", "AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", str(tmp_path / "config"))


@pytest.mark.parametrize("text", ["many", "0", "-1", "1e3", "2.5", "99999999999999999999", "nan", "१२"])
def test_attempts_that_are_no_number_from_1_on_are_refused(monkeypatch, text):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", text)
    with pytest.raises(AwsSettingError, match="AWS_MAX_ATTEMPTS must be a whole number from 1 to 1000, got"):
        tensorstore_context(remote=True)
    tensorstore_context(remote=False)  # a folder needs none


@pytest.mark.parametrize(("text", "attempts"), [("", 8), (" 3 ", 3), ("1", 1)])
def test_attempts_are_read(monkeypatch, text, attempts):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", text)
    assert aws.attempts() == attempts


@pytest.mark.parametrize(
    "text",
    ["nonsense", "localhost:9000", "ftp://host", "http://", "http://host:99999", "http://host:x", "http://a b",
     "https://host?x=1", "http://user:word@host", "http://[::1", "http://host\n"],
)  # fmt: skip
def test_an_endpoint_that_is_no_address_is_refused(monkeypatch, text):
    monkeypatch.setenv("AWS_ENDPOINT_URL", text)
    with pytest.raises(AwsSettingError, match="must be http:// or https:// and a server's name"):
        read_objects(Location.parse(f"s3://bucket/{abs(hash(text))}.zarr"), ["x"])


@pytest.mark.parametrize("text", ["http://127.0.0.1:9000", "https://s3.example.org/", "http://[::1]:80"])
def test_an_address_is_taken_as_it_is(monkeypatch, text):
    monkeypatch.setenv("AWS_ENDPOINT_URL", text)
    assert aws.endpoint() == text.rstrip("/")


@pytest.mark.parametrize("data", [b"[default\nregion = x\n", b"\xff\xfe\0", b"region = x\n"])
def test_a_file_of_settings_that_cannot_be_read_is_refused(monkeypatch, tmp_path, data):
    (tmp_path / "config").write_bytes(data)
    with pytest.raises(AwsSettingError, match="must be a configuration file of AWS"):
        aws.region()


@pytest.mark.parametrize("name", ["A_B", "a", "a..b", "x" * 300])
def test_a_name_that_no_bucket_can_have_is_refused(monkeypatch, name):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    with pytest.raises(AwsSettingError, match="cannot be an address in a bucket"):
        read_objects(Location.parse(f"s3://{name}!/store.zarr"), ["x"])


def test_readers_name_the_setting(monkeypatch):
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "often")
    with pytest.raises(ValueError, match="AWS_MAX_ATTEMPTS must be"):
        etl.open_store("s3://bucket/settings.zarr")
