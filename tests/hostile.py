"""Files that an archive of someone else may hold to read other files, to wait for ever, or to fill memory."""

import os
import struct
import zipfile
from pathlib import Path
from typing import Any

__all__ = ["SECRET", "blanks_zip", "claim", "make_fifo", "make_link", "vrt_of"]

SECRET = 54_321
"""Value of all pixels of a file that no extraction may read."""


def vrt_of(path: Path, side: int = 240, dtype: str = "UInt16") -> str:
    """The text of a GDAL virtual raster, one band of `side` x `side` pixels, with the pixels of another file."""
    return (
        f'<VRTDataset rasterXSize="{side}" rasterYSize="{side}"><VRTRasterBand dataType="{dtype}" band="1">'
        f"<SimpleSource><SourceFilename>{path}</SourceFilename><SourceBand>1</SourceBand></SimpleSource>"
        "</VRTRasterBand></VRTDataset>"
    )


def make_fifo(path: Path) -> None:
    """Put a FIFO in the place of a file."""
    path.unlink(missing_ok=True)
    os.mkfifo(path)


def make_link(path: Path, target: "str | Path") -> None:
    """Put a link in the place of a file."""
    path.unlink(missing_ok=True)
    path.symlink_to(target)


def claim(path: Path, **fields: int) -> None:
    """Change fields of the SIZ segment of a JPEG 2000 file."""
    names = ("columns", "rows", "left", "top", "tile_columns", "tile_rows", "tile_left", "tile_top")
    data = bytearray(path.read_bytes())
    at = data.index(b"\xff\x4f\xff\x51") + 8
    for name, value in fields.items():
        struct.pack_into(">I", data, at + 4 * names.index(name), value)
    path.write_bytes(data)


def blanks_zip(path: Path, entries: dict[str, bytes], blank: str, size: int, **told: Any) -> None:
    """A zip file of these entries, and one of `size` blanks; `told` are attributes that the zip file lies about."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries.items():
            archive.writestr(name, data)
        with archive.open(blank, "w", force_zip64=False) as file:
            piece = b" " * (1 << 20)
            for _ in range(size >> 20):
                file.write(piece)
        for name, value in told.items():
            setattr(archive.getinfo(blank), name, value)
