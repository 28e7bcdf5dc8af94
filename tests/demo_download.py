"""`make demo-download`: products from a data service on this machine, and stores from the folder and from the bucket.

It starts a catalogue (OData and STAC), a server of files over HTTP with tokens, and SeaweedFS, an S3 server. All listen
on 127.0.0.1 alone and end with the demo.
"""

import argparse
import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
from commands import content, same
from data_space.products import ServedProduct, served_products
from data_space.service import DataSpace
from data_space.stac_app import stac_server

from benchmarks.object_store import ObjectStore, object_store
from etl.files import remove_path

_START_S = time.monotonic()


def main() -> int:
    """Run the demo; returns the exit status."""
    parser = argparse.ArgumentParser(prog="make demo-download", description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("demo/download"), help="folder of the demo; it is made anew")
    parser.add_argument("--tile-px", type=int, default=1200, help="side of the sample's tiles at 10 m (default: 1200)")
    arguments = parser.parse_args()
    out = arguments.out.absolute()
    remove_path(out)
    out.mkdir(parents=True)
    tell("drawing a sample of four small tiles")
    python(out, "etl.sample", "--out", "data", "--no-archives", "--tile-px", str(arguments.tile_px))
    python(out, "etl.catalogue", "--source", "data/labels", "--lists", "data/lists", "--out", "data/patches.parquet")
    products = served_products(out / "data" / "tiles")
    with (
        object_store(out / "bucket", "eodata") as bucket,
        DataSpace(products) as service,
        stac_server(products, service.download_url) as stac_url,
    ):
        for product in products:
            bucket.upload(out / "data" / "tiles" / product.folder, product.s3_path.removeprefix("/eodata/"))
        tell("a data service offers them over S3 and HTTP, with catalogues in OData and STAC, on 127.0.0.1")
        addresses = {name: getattr(service, name) for name in ("odata_url", "download_url", "token_url")}
        write_settings(out / "pipeline.toml", {**addresses, "stac_url": stac_url})
        account = {"CDSE_USERNAME": service.tokens.username, "CDSE_PASSWORD": service.tokens.password}
        os.environ.update({**bucket.environment(), **account, "XDG_CACHE_HOME": str(out / "cache")})
        show(out, products, bucket)
    tell(f"look at {out}/tiles, {out}/tiles/download.json and {out}/pipeline.toml")
    return 0


def show(out: Path, products: list[ServedProduct], bucket: ObjectStore) -> None:
    """Download over both protocols, then extract from three places, and compare the stores."""
    catalogue = ("--catalogue", "data/patches.parquet")
    python(out, "etl.download", *catalogue, "--out", "tiles", "--dry-run")
    tell("first over S3")
    python(out, "etl.download", *catalogue, "--out", "tiles")
    tell("once more: nothing is fetched twice")
    python(out, "etl.download", *catalogue, "--out", "tiles")
    tell("into another folder: by area and time, looked for by STAC, over HTTP")
    longitude, latitude = np.array([point for one in products for point in one.footprint]).T
    area = f"{longitude.min():.2f},{latitude.min():.2f},{longitude.max():.2f},{latitude.max():.2f}"
    days = sorted(f"{one.acquired:%Y-%m-%d}" for one in products)
    flags = ("--area", area, "--time", f"{days[0]}/{days[-1]}", "--search", "stac", "--transfer", "http")
    python(out, "etl.download", *flags, "--out", "by-area")
    tell("extracting from the sample, from what was downloaded, and straight from the bucket")
    sources = {"sample": "data/tiles", "downloaded": "tiles", "bucket": f"s3://{bucket.bucket}/Sentinel-2/MSI/L2A"}
    for name, source in sources.items():
        python(out, "etl.extract", *catalogue, "--source", source, "--out", f"{name}.h5", ranks=2)
    stores = {name: content(out / f"{name}.h5") for name in sources}
    for name, store in stores.items():
        if not same(store, stores["sample"]):
            raise SystemExit(f"error: {name}.h5 must hold the same arrays as sample.h5, and differs")
    tell(f"the three stores hold the same {len(stores['sample']['patch'])} patches, bit for bit")


def write_settings(path: Path, addresses: dict[str, str]) -> None:
    """Write `pipeline.toml`, so that the commands find the servers."""
    lines = ["[download]", *(f'{name} = "{address}"' for name, address in addresses.items())]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    print(f"{path.name}:", *lines, sep="\n    ")


def tell(what: str) -> None:
    """Print what happens, with the seconds since the start."""
    print(f"[{time.monotonic() - _START_S:4.0f} s] {what}", flush=True)


def python(folder: Path, *command: str, ranks: int = 1) -> None:
    """Run a command of the project, and show how it is called."""
    launcher = ["mpirun", "-n", str(ranks)] if ranks > 1 else []
    shown = " ".join([*launcher, "python", "-m", *command])
    print(f"$ {shown}", flush=True)
    subprocess.run([*launcher, sys.executable, "-m", *command], cwd=folder, check=True)


if __name__ == "__main__":
    sys.exit(main())
