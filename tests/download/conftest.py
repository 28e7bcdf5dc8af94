"""A data space on this machine: OData, tokens and files over HTTP, the same files in a bucket."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from data_space.products import ServedProduct
from data_space.service import DataSpace
from download_products import PASSWORD, SECRET_KEY
from object_server import ObjectServer

from etl import bucket_files
from etl.download.settings import DownloadSettings


class Space:
    """Both servers, and settings of a download from them."""

    def __init__(self, web: DataSpace, bucket: ObjectServer) -> None:
        self.web, self.bucket = web, bucket

    def serve(self, *products: ServedProduct) -> None:
        """Offer these products, and no others."""
        self.web.products = {one.uuid: one for one in products}
        self.bucket.objects = {
            f"{one.s3_path.removeprefix('/eodata/')}/{file}": one.read(file)
            for one in products
            if one.online and not one.deleted
            for file in one.files
        }

    def settings(self, **changes: Any) -> DownloadSettings:
        """Settings of a download from here, with three attempts."""
        addresses = {name: getattr(self.web, name) for name in ("odata_url", "download_url", "token_url")}
        return DownloadSettings(**{"attempts": 3, **addresses, **changes})

    def flags(self) -> list[str]:
        """The same as flags of the command."""
        names = ("odata_url", "download_url", "token_url")
        return [text for name in names for text in (f"--{name.replace('_', '-')}", getattr(self.web, name))]

    def fetched(self) -> list[str]:
        """Paths of files that were asked for since the last call, over both protocols."""
        with self.web.lock, self.bucket.lock:
            found = [one.path for one in self.web.requests if one.path.endswith("$value")]
            found += [one.key for one in self.bucket.requests if one.key]
            self.web.requests.clear()
            self.bucket.requests.clear()
        return found


@pytest.fixture
def space(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Space]:
    """Servers that offer nothing yet, with the account of the environment."""
    with DataSpace([], password=PASSWORD) as web, ObjectServer() as bucket:
        for name, value in {**bucket.environment, "AWS_SECRET_ACCESS_KEY": SECRET_KEY}.items():
            monkeypatch.setenv(name, value)
        monkeypatch.setenv("CDSE_USERNAME", web.tokens.username)
        monkeypatch.setenv("CDSE_PASSWORD", PASSWORD)
        monkeypatch.setenv("NETRC", str(tmp_path / "no-netrc"))
        bucket_files._store.cache_clear()
        yield Space(web, bucket)
        bucket_files._store.cache_clear()


@pytest.fixture
def same_files() -> Callable[[Path, ServedProduct, bool], None]:
    """Asserts that a folder holds a product: the files that extraction reads, or all."""

    def check(out: Path, product: ServedProduct, all_files: bool = False) -> None:
        folder = out / product.folder
        held = {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
        unread = () if all_files else ("INSPIRE.xml", "_B02_20m.jp2", "_TCI_10m.jp2")
        assert held == {file: product.read(file) for file in product.files if not file.endswith(unread or "/")}
        assert not list(out.glob(f".download/{product.folder}"))

    return check
