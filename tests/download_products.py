"""Products with the files of real ones and random bytes for pixels, which nothing decodes; served by test servers."""

import random
import re
import subprocess
import uuid
from collections.abc import Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path

import pyarrow as pa
from data_space.products import ServedProduct
from data_space.service import DataSpace

from etl.bands import GROUPS
from etl.catalogue.names import parse_product
from etl.catalogue.table import make_catalogue_table, write_catalogue
from etl.sample.safe_xml import product_manifest

__all__ = ["NAME", "PASSWORD", "SECRET_KEY", "catalogue_of", "fetch_four_products_by_three_runs", "product"]

NAME = "S2A_MSIL2A_20170613T101031_N0500_R022_T33UUP_20230613T101608"

PASSWORD, SECRET_KEY = "pass word+&%=", "secret-key-of-the-bucket"
"""Of the account over HTTP, and of the bucket."""

_FOOTPRINT = ((12.3, 48.7), (13.8, 48.7), (13.8, 47.7), (12.3, 47.7), (12.3, 48.7))


def product(home: Path, name: str = NAME, image_bytes: int = 20_000, cloud_cover: float = 5.0) -> ServedProduct:
    """Write a product below `home`, and tell the servers of it."""
    folder, parsed = home / f"{name}.SAFE", parse_product(name)
    granule = f"GRANULE/L2A_T{parsed.tile}_A010312_20170613T101608"
    stem = f"T{parsed.tile}_{parsed.acquired:%Y%m%dT%H%M%S}"
    images = [f"R{group.gsd_m}m/{stem}_{band}_{group.gsd_m}m.jp2" for group in GROUPS for band in group.bands]
    images += [f"R20m/{stem}_SCL_20m.jp2", f"R20m/{stem}_B02_20m.jp2", f"R10m/{stem}_TCI_10m.jp2"]
    names = ["MTD_MSIL2A.xml", f"{granule}/MTD_TL.xml", "INSPIRE.xml", *(f"{granule}/IMG_DATA/{i}" for i in images)]
    pixels = random.Random(name)
    for file in names:
        (folder / file).parent.mkdir(parents=True, exist_ok=True)
        (folder / file).write_bytes(pixels.randbytes(image_bytes if file.endswith(".jp2") else 2_000))
    (folder / "manifest.safe").write_bytes(product_manifest(folder, names))
    files = {file: folder / file for file in ("manifest.safe", *names)}
    key = str(uuid.uuid5(uuid.NAMESPACE_URL, name))
    return ServedProduct(name, files, key, parsed.acquired + timedelta(milliseconds=24), _FOOTPRINT, cloud_cover)


def catalogue_of(path: Path, names: Iterable[str]) -> Path:
    """A catalogue with one patch of each product."""
    listed = list(names)
    parsed = [parse_product(name) for name in listed]
    table = make_catalogue_table(
        patch=[f"{name}_{number:02d}_00" for number, name in enumerate(listed)],
        tile=[one.tile for one in parsed],
        product=listed,
        acquired=pa.array([one.acquired for one in parsed], pa.timestamp("s", tz="UTC")),
        epsg=pa.array([32633] * len(listed), pa.int32()),
        ulx=[300000.0] * len(listed),
        uly=[5400000.0 - 1200 * number for number in range(len(listed))],
    )
    write_catalogue(path, table)
    return path


def fetch_four_products_by_three_runs(space: DataSpace, command: Sequence[str]) -> None:
    """Run a command, which asks for four products by three connections, three times at once: each file is sent once."""

    def run(_: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(command, capture_output=True, text=True)

    numbers = 0
    with ThreadPoolExecutor() as pool:
        for done in pool.map(run, range(3)):
            assert done.returncode == 0, done.stderr
            found = re.search(r"(\d) products? fetched", done.stdout)
            assert found
            numbers += int(found[1])
    assert numbers == 4
    assert space.web.most_connections <= 3
    fetched = space.fetched()
    assert len(fetched) == len(set(fetched)) == 4 * 16
