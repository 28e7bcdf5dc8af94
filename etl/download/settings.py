"""Settings of `etl.download`."""

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import urlsplit

from etl.bucket_files import is_remote
from etl.download.zenodo import ARCHIVE_RECORDS
from etl.settings import require_at_least, require_within, setting

__all__ = ["Area", "DownloadSettings"]

Area = tuple[float, float, float, float]
"""West, south, east and north, in degrees."""


@dataclass(frozen=True, slots=True)
class DownloadSettings:
    """Fetch Sentinel-2 Level-2A products of a catalogue, or of an area and a time, or an archive of patches.

    The default addresses are those of the Copernicus Data Space, and of Zenodo. The same command goes on after a run
    that was stopped.
    """

    catalogue: Path | None = setting(
        None, "patches.parquet: fetch the products of its acquisitions, in the newest baseline now offered"
    )
    area: str = setting("", "instead of a catalogue: WEST,SOUTH,EAST,NORTH in degrees")
    time: str = setting("", "with --area: first and last day, as 2025-06-01/2025-06-30")
    max_cloud: float = setting(100.0, "with --area: most cloud of a product", "%")
    archive: str | None = setting(
        None, "instead of a catalogue: fetch the published files of this archive", choices=tuple(ARCHIVE_RECORDS)
    )
    archive_files: str = setting("*", "with --archive: names of its files, separated by commas; * and ? are wildcards")
    out: Path = setting(Path("data/tiles"), "folder for what is fetched; for products also s3://BUCKET/PREFIX")
    files: str = setting("needed", "those that extraction reads, or all of a product", choices=("needed", "all"))
    search: str = setting("odata", "protocol by which products are looked for", choices=("odata", "stac"))
    transfer: str = setting("s3", "protocol by which files are fetched", choices=("s3", "http"))
    connections: int = setting(
        4, "files fetched at the same time, by all runs into this folder; into a bucket, by all of this machine"
    )
    attempts: int = setting(
        8, "most tries in a row that bring no further byte of a file; over S3 AWS_MAX_ATTEMPTS counts instead"
    )
    dry_run: bool = setting(False, "only tell what would be fetched, and how long that takes")
    rate_mib: float = setting(20.0, "with --dry-run: expected rate of all connections together", "MiB/s")
    strict: bool = setting(False, "end with status 4 if a product is not available; no effect with --archive")
    odata_url: str = setting("https://catalogue.dataspace.copernicus.eu/odata/v1", "address of the catalogue, OData")
    stac_url: str = setting("https://stac.dataspace.copernicus.eu/v1", "address of the catalogue, STAC")
    s3_url: str = setting(
        "https://eodata.dataspace.copernicus.eu",
        "address of files over S3; if neither CDSE_ACCESS_KEY_ID nor CDSE_NO_SIGN_REQUEST is set, AWS_ENDPOINT_URL or "
        "the endpoint of a profile comes before it",
    )
    download_url: str = setting("https://download.dataspace.copernicus.eu/odata/v1", "address of files over HTTP")
    token_url: str = setting(
        "https://identity.dataspace.copernicus.eu/auth/realms/CDSE/protocol/openid-connect/token",
        "address that gives access tokens for HTTP",
    )
    zenodo_url: str = setting("https://zenodo.org/api", "address of the service of --archive")

    def __post_init__(self) -> None:
        if bool(self.catalogue) + bool(self.area) + bool(self.archive) != 1:
            raise ValueError("one of --catalogue, --area and --archive must be given, and not several")
        if bool(self.area) != bool(self.time):
            raise ValueError("--area and --time must be given together")
        if self.area:
            _ = self.bounds, self.days
        if is_remote(self.out) and (len(self.out.parts) < 2 or ".." in self.out.parts):
            raise ValueError(f"--out in a bucket must be s3://BUCKET/PREFIX without .., got {self.shown_out}")
        if self.archive and is_remote(self.out):
            raise ValueError(f"--out must be a folder for --archive, got {self.shown_out}")
        require_at_least(self, rate_mib=0.001)
        require_within(self, max_cloud=(0, 100), connections=(1, 64), attempts=(1, 1000))
        for name in ("odata_url", "stac_url", "s3_url", "download_url", "token_url", "zenodo_url"):
            _require_address(f"--{name.replace('_', '-')}", getattr(self, name))

    @property
    def shown_out(self) -> str:
        """--out as a user writes it; `pathlib` keeps one slash of `s3://`."""
        return f"s3://{'/'.join(self.out.parts[1:])}" if is_remote(self.out) else str(self.out)

    @property
    def bounds(self) -> Area:
        """--area in numbers.

        Raises:
            ValueError: it is no area.
        """
        try:
            west, south, east, north = map(float, self.area.split(","))
        except ValueError:
            raise ValueError(f"--area must be WEST,SOUTH,EAST,NORTH in degrees, got {self.area[:80]!r}") from None
        if not (-180 <= west < east <= 180 and -90 <= south < north <= 90):
            raise ValueError(
                f"--area must have -180 <= west < east <= 180 and -90 <= south < north <= 90, got {self.area[:80]!r}"
            )
        return west, south, east, north

    @property
    def days(self) -> tuple[datetime, datetime]:
        """First and last day of --time, at midnight UTC.

        Raises:
            ValueError: it names no two days in order.
        """
        try:
            if not re.fullmatch(r"\d{4}-\d{2}-\d{2}/\d{4}-\d{2}-\d{2}", self.time, re.ASCII):
                raise ValueError
            first, last = (datetime.fromisoformat(text).replace(tzinfo=UTC) for text in self.time.split("/"))
        except ValueError:
            raise ValueError(f"--time must be two days, as 2025-06-01/2025-06-30, got {self.time[:80]!r}") from None
        if first > last or last.year > 9998:
            raise ValueError(f"--time must begin before it ends, and before the year 9999, got {self.time!r}")
        return first, last


def _require_address(flag: str, text: str) -> None:
    try:
        parts = urlsplit(text)
        is_usable = parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:
        is_usable = False
    if not is_usable or "@" in parts.netloc or parts.query or parts.fragment or not text.isascii():
        # not shown: an address can hold a password
        raise ValueError(f"{flag} must be http:// or https://, a server's name and a path, without a name or password")
