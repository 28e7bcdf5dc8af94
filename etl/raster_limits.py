"""Limits on what a raster file may claim; of JPEG 2000 by its first bytes, before a decoder sees them.

A decoder allocates memory for every tile and component that the header claims, before it meets the end of the file.

Source: ISO/IEC 15444-1, annexes A.5 (SIZ, COD) and I.4 (boxes).
"""

import struct
from collections.abc import Callable
from dataclasses import dataclass

__all__ = ["Jp2Header", "oversize", "read_jp2_header"]

_MOST_SIDE_PX = 65_535
"""Most rows, and most columns, of a raster."""

_MOST_BLOCK_BYTES = 512 << 20
"""Most bytes of a block, which is decoded whole: a band without tiles, 10980 px a side, takes 482 MB in the decoder."""

_MOST_TILES = 4096
"""Most tiles, times components, of a JPEG 2000 file: decoders allocate 20 KB for each. Real bands have 121."""

_MOST_BANDS = 1024
"""Most bands of a raster."""

_SIGNATURE = b"\0\0\0\x0cjP  \r\n\x87\n"
_CODE_STREAM = b"\xff\x4f\xff\x51"  # SOC, and SIZ, which must follow it
_COD, _COC, _START_OF_TILE = 0xFF52, 0xFF53, 0xFF90

_MOST_BOXES = 1000
"""Most boxes before the code stream: real files have 3 to 5."""

_MOST_SEGMENTS = 20_000
"""Most segments of a main header: one for each component, and some."""

_MOST_PRECINCTS = 1 << 20
"""Most precincts of a tile: the decoder allocates some hundred bytes for each. A tile of real bands has 6."""

Read = Callable[[int, int], bytes]
"""Bytes of a file, from an offset, fewer at its end."""


@dataclass(frozen=True, slots=True)
class Jp2Header:
    """What a JPEG 2000 file claims about its image."""

    rows: int
    """Rows of the image."""

    columns: int
    """Columns of the image."""

    tile_rows: int
    """Rows of a tile, or of the image if that has fewer."""

    tile_columns: int
    """Columns of a tile, or of the image if that has fewer."""

    tiles: int
    """Number of tiles."""

    components: int
    """Number of components (bands)."""

    start: int
    """Where the code stream begins in the file."""

    is_at_origin: bool
    """Whether image and tiles begin at the corner of the reference grid, as in all real files."""


def read_jp2_header(read: Read, size: Callable[[], int]) -> Jp2Header | None:
    """The header of a JPEG 2000 file, a code stream or one in boxes; None if it is no such file.

    `read` gives bytes of the file, `size` their number.

    Raises:
        ValueError: there is no complete header, it is none that a decoder can use, or it claims more than any real
            file has.
    """
    start = read(0, 12)
    if start.startswith(_CODE_STREAM):
        at = 0
    elif start == _SIGNATURE:
        at = _code_stream_offset(read, size())
    else:
        return None
    try:
        return _image_size(read, at)
    except struct.error:
        raise ValueError("its header is cut") from None


def _code_stream_offset(read: Read, size: int) -> int:
    """Where the code stream begins in a file of boxes."""
    at = 0
    for _ in range(_MOST_BOXES):
        head = read(at, 16)
        if len(head) < 8:
            raise ValueError("it holds no code stream")
        length, kind = struct.unpack(">I4s", head[:8])
        payload = 8
        if length == 1:
            if len(head) < 16:
                raise ValueError("a box of it is cut")
            (length,), payload = struct.unpack(">Q", head[8:]), 16
        if kind == b"jp2c":
            return at + payload
        if length < payload or at + length > size:  # 0, up to the end of the file, is for the code stream alone
            raise ValueError(f"a box of it has {length} bytes from byte {at}, the file has {size}")
        at += length
    raise ValueError(f"more than {_MOST_BOXES} boxes come before its code stream")


def _image_size(read: Read, at: int) -> Jp2Header:
    head = read(at, 42)
    if not head.startswith(_CODE_STREAM):
        raise ValueError("its code stream must begin with the markers SOC and SIZ")
    length, right, bottom, left, top, tile_columns, tile_rows, tile_left, tile_top, components = struct.unpack(
        ">H2x8IH", head[4:42]
    )
    columns, rows = right - left, bottom - top
    if min(columns, rows, tile_columns, tile_rows, components) < 1 or length != 38 + 3 * components:
        raise ValueError(f"its header claims {rows} x {columns} pixels in {components} components")
    if tile_left > left or tile_top > top:
        raise ValueError("its header puts the first tile inside the image")
    tiles = -(-(right - tile_left) // tile_columns) * -(-(bottom - tile_top) // tile_rows)
    size = (rows, columns, min(rows, tile_rows), min(columns, tile_columns))
    header = Jp2Header(*size, tiles, components, at, not any((left, top, tile_left, tile_top)))
    _check_claims(header)
    _check_precincts(read, at + 4 + length, header)
    return header


def _check_precincts(read: Read, at: int, header: Jp2Header) -> None:
    """Check that the coding styles in the main header, from byte `at` of the file on, divide a tile sensibly."""
    for _ in range(_MOST_SEGMENTS):
        marker, length = struct.unpack(">HH", read(at, 4))
        if marker == _START_OF_TILE:
            return
        if marker in (_COD, _COC):
            segment = read(at + 4, min(length, 64) - 2 if length > 2 else 0)
            if marker == _COC:  # the number of the component, one byte or two, takes the place of order and layers
                segment = segment[1 if header.components < 257 else 2 :]
                style, rest = segment[0:1], segment[1:]
            else:
                style, rest = segment[0:1], segment[5:]
            _check_coding_style(style, rest, header)
        at += 2 + length
    raise ValueError(f"its main header must have at most {_MOST_SEGMENTS} segments")


def _check_coding_style(style: bytes, rest: bytes, header: Jp2Header) -> None:
    (flags,), (levels, code_column, code_row) = struct.unpack("B", style), struct.unpack("3B", rest[:3])
    if levels > 32:
        raise ValueError(f"it must have at most 32 levels of resolution, got {levels}")
    sizes = rest[5 : 6 + levels] if flags & 1 else b"\xff" * (levels + 1)
    if len(sizes) <= levels:
        raise ValueError("its coding style is cut")
    pieces = 0
    for resolution, exponents in enumerate(sizes):
        shrink = levels - resolution
        rows, columns = (-(-side >> shrink) or 1 for side in (header.tile_rows, header.tile_columns))
        across, down = exponents & 15, exponents >> 4
        pieces += (-(-rows >> down) or 1) * (-(-columns >> across) or 1)
    blocks = (header.tile_rows >> (code_row & 15) + 2) * (header.tile_columns >> (code_column & 15) + 2)
    most = max(pieces, blocks) * header.components
    if most > _MOST_PRECINCTS:
        raise ValueError(f"it must divide a tile into at most {_MOST_PRECINCTS} precincts or code blocks, got {most}")


def _check_claims(head: Jp2Header) -> None:
    tiles, block_bytes = head.tiles * head.components, 4 * head.tile_rows * head.tile_columns
    if max(head.rows, head.columns) > _MOST_SIDE_PX:
        raise ValueError(f"it must have at most {_MOST_SIDE_PX} rows and columns, got {head.rows} x {head.columns}")
    if tiles > _MOST_TILES:
        raise ValueError(f"it must have at most {_MOST_TILES} tiles, counted for each band, got {tiles}")
    if block_bytes > _MOST_BLOCK_BYTES:
        raise ValueError(f"a tile of it must take at most {_MOST_BLOCK_BYTES} bytes, got {block_bytes}")


def oversize(shape: tuple[int, int], block: tuple[int, int], bands: int, pixel_bytes: int) -> str:
    """How a raster passes the limits; empty if it does not. `shape` and `block`: (rows, columns)."""
    block_bytes = block[0] * block[1] * pixel_bytes
    if max(shape) > _MOST_SIDE_PX:
        return f"must have at most {_MOST_SIDE_PX} rows and columns, got {shape[0]} x {shape[1]}"
    if bands > _MOST_BANDS:
        return f"must have at most {_MOST_BANDS} bands, got {bands}"
    if block_bytes > _MOST_BLOCK_BYTES:
        return f"must have blocks of at most {_MOST_BLOCK_BYTES} bytes, got {block_bytes}"
    return ""
