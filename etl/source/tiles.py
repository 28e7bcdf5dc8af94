"""Cut patches from tiles: each block is decoded once, by one rank, and sent to the others that need it.

A rank first decodes the blocks that other ranks wait for and sends them. Then it goes through its patches in store
order, receives other ranks' blocks, and frees each block after the last patch that needs it. It decodes its own blocks
ahead of use, evenly over its patches: decoding a whole row of blocks when its first patch comes would stall all ranks
in the next collective write. A block that cannot be decoded rejects the patches that need it, on whichever rank.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS
from etl.plan.decode_schedule import schedule_decoding
from etl.plan.layers import Layer, patch_window
from etl.plan.work import Block, RankWork, Tile
from etl.product_files import ProductError
from etl.raster import RasterError, RasterFile
from etl.source.patch import Patch, PatchError, mirror_border
from etl.source.radiometry import lookup_table
from etl.source.safe import Product
from etl.stage_timer import StageTimer

__all__ = ["BlockData", "TilePatches", "layers_of"]

_HEADER_WORDS = 1024
"""uint16 words before a block's pixels: the reason why it could not be decoded, as text; all 0 where it could."""


class BlockData:
    """Pixels of one block of all bands of a layer, or why it could not be decoded; one contiguous message for MPI."""

    def __init__(self, layer: Layer, index: int) -> None:
        _, _, rows, columns = layer.block_window(*divmod(index, layer.blocks[1]))
        # one buffer, so that reason and pixels travel in one message without a copy
        self.message = np.empty(_HEADER_WORDS + rows * columns * layer.bands, np.uint16)
        """The whole message, uint16."""
        self.message[:_HEADER_WORDS] = 0
        self.pixels = self.message[_HEADER_WORDS:].reshape(layer.bands, rows, columns)
        """Shape (band, row, col), uint16; uninitialised where `problem` is not empty."""

    @property
    def problem(self) -> str:
        """Why the block could not be decoded, at most 2,046 bytes of UTF-8; empty where it could."""
        return self.message[:_HEADER_WORDS].tobytes().rstrip(b"\0").decode(errors="replace") if self.message[0] else ""

    def fail(self, reason: str) -> None:
        """Mark the block as not decoded; of a reason longer than 2,046 bytes the end is kept."""
        text = reason.encode(errors="replace")
        if len(text) > 2 * _HEADER_WORDS - 2:  # a long path comes first, the cause last
            text = b"..." + text[5 - 2 * _HEADER_WORDS :]
        self.message[:_HEADER_WORDS] = np.frombuffer(text.ljust(2 * _HEADER_WORDS, b"\0"), np.uint16)


def layers_of(product: Product, halo_px: Sequence[int]) -> tuple[Layer, ...]:
    """Layers of a product: the three groups and, where there is one, the scene classification.

    Block sizes, pixel types and sizes are read from every band's file. `halo_px`: halo of each group in pixels.

    Raises:
        ProductError: a file cannot be opened, or is not of the type and size that the metadata promises.
    """
    wanted = [(g.name, g.gsd_m, g.bands, "UInt16", halo_px[k]) for k, g in enumerate(GROUPS)]
    if "SCL" in product.files:
        wanted.append(("scl", 20, ("SCL",), "Byte", 0))
    layers = []
    for name, gsd_m, bands, dtype, halo in wanted:
        size = product.grid.size_px * 10 // gsd_m
        blocks = [_checked_block(product.files[band], band, (size, size), dtype) for band in bands]
        layers.append(Layer(name, gsd_m, len(bands), (size, size), blocks[-1], halo))
    return tuple(layers)


def _checked_block(path: str, band: str, shape: tuple[int, int], dtype: str) -> tuple[int, int]:
    """(rows, columns) of the blocks of a band's file, which must have this shape and GDAL's pixel type `dtype`."""
    try:
        file = RasterFile(path)
    except RasterError as error:
        raise ProductError(f"band {band}: {error}") from None
    if file.shape != shape or file.dtype != dtype:
        raise ProductError(
            f"band {band} must be {shape[0]} x {shape[1]} pixels of {dtype}, "
            f"got {file.shape[0]} x {file.shape[1]} of {file.dtype} in {path}"
        )
    return file.block


class TilePatches:
    """Patches of one rank, in store order."""

    def __init__(
        self,
        work: RankWork,
        tiles: Mapping[int, Tile],
        products: Mapping[int, Product],
        inbox: Callable[[Block, bool], BlockData | None],
        timer: StageTimer | None = None,
    ) -> None:
        """Args: `inbox(block, wait)` returns a block of another rank; None if it is not there and `wait` is false.

        `timer` takes the seconds of `decode_s`, entered once a block, and of `wait_for_blocks_s`.
        """
        self._work, self._tiles, self._products, self._inbox = work, tiles, products, inbox
        self._timer = timer or StageTimer()
        self._cache: dict[Block, BlockData] = {}
        schedule = schedule_decoding(work, tiles)
        self._uses, self._due, self._early = schedule.uses, deque(schedule.due), schedule.lifetime // 2
        self._position = 0
        self._files: dict[tuple[int, int], list[tuple[RasterFile, npt.NDArray[np.uint16] | None]]] = {}
        self._windows: dict[Layer, npt.NDArray[np.uint16]] = {}

    def outgoing(self) -> Iterator[tuple[BlockData, tuple[int, ...]]]:
        """Blocks of pixels that other ranks wait for, each with those ranks; to be exhausted before `patches`."""
        for block, ranks in self._work.sends:
            data = self._decode(block)
            if self._uses[block]:
                self._cache[block] = data
            yield data, ranks

    def patches(self) -> Iterator[tuple[int, Patch | PatchError]]:
        """(store row, patch or why there is none) of every patch of this rank, in store order; pixels are uint16."""
        for part in self._work.patches:
            tile = self._tiles[part.tile]
            for k in range(part.first, part.stop):
                while self._due and self._due[0][0] <= self._position:
                    self._decode_next()
                yield int(tile.rows[k]), self._patch(part.tile, int(tile.j[k]), int(tile.i[k]))
                self._position += 1
            # a rank that opens the files of hundreds of tiles would run out of file handles
            for key in [key for key in self._files if key[0] == part.tile]:
                del self._files[key]

    def _patch(self, number: int, j: int, i: int) -> Patch | PatchError:
        tile = self._tiles[number]
        windows, problem = [], None
        for layer_number, layer in enumerate(tile.layers):
            out = self._windows.get(layer)  # reused: a fresh buffer for each patch costs page faults
            if out is None:
                side = layer.patch_px + 2 * layer.halo_px
                out = self._windows[layer] = np.empty((layer.bands, side, side), np.uint16)
            try:
                self._fill(out, (number, layer_number), patch_window(layer, j, i))
            except PatchError as error:
                problem = problem or error
            windows.append(out)
        if problem is not None:
            return problem
        native, scene = windows[: len(GROUPS)], windows[len(GROUPS) :]  # see layers_of
        # astype copies, while the native windows are lent until the next patch
        return Patch(tuple(native), scene[0][0].astype(np.uint8) if scene else None)

    def _fill(self, out: npt.NDArray[np.uint16], where: tuple[int, int], window: tuple[int, int, int, int]) -> None:
        """Copy a window from the blocks that hold it, mirrored beyond the tile's border."""
        layer = self._tiles[where[0]].layers[where[1]]
        row, column, rows, columns = window
        top, left = max(row, 0), max(column, 0)
        bottom, right = min(row + rows, layer.size_px[0]), min(column + columns, layer.size_px[1])
        problem = ""
        for by in range(top // layer.block_px[0], (bottom - 1) // layer.block_px[0] + 1):
            for bx in range(left // layer.block_px[1], (right - 1) // layer.block_px[1] + 1):
                block = Block(*where, by * layer.blocks[1] + bx)
                data = self._get(block)
                problem = problem or data.problem
                r0, c0, height, width = layer.block_window(by, bx)
                y0, y1, x0, x1 = max(top, r0), min(bottom, r0 + height), max(left, c0), min(right, c0 + width)
                part = data.pixels[:, y0 - r0 : y1 - r0, x0 - c0 : x1 - c0]
                out[:, y0 - row : y1 - row, x0 - column : x1 - column] = part
                self._release(block)
        if problem:
            raise PatchError(problem)
        mirror_border(out, (top - row, bottom - row, left - column, right - column))

    def _decode_next(self) -> None:
        """Decode the next of this rank's own blocks that is due."""
        _, block = self._due.popleft()
        self._cache[block] = self._decode(block)

    def _get(self, block: Block) -> BlockData:
        """A block; while one of another rank has not arrived, this rank decodes its own blocks that are due soon."""
        data = self._cache.get(block) or self._inbox(block, False)
        while data is None and self._due and self._due[0][0] <= self._position + self._early:
            self._decode_next()
            data = self._inbox(block, False)
        if data is None:
            with self._timer.stage("wait_for_blocks_s"):
                data = self._inbox(block, True)
        assert data is not None
        self._cache[block] = data
        return data

    def _release(self, block: Block) -> None:
        self._uses[block] -= 1
        if self._uses[block] <= 0:
            del self._cache[block]

    def _decode(self, block: Block) -> BlockData:
        """Decode one block of all bands of a layer, on the store's scale: reflectance x 10,000, uint16."""
        layer = self._tiles[block.tile].layers[block.layer]
        with self._timer.stage("decode_s"):
            data = BlockData(layer, block.index)
            window = layer.block_window(*divmod(block.index, layer.blocks[1]))
            try:
                for plane, (file, lut) in zip(data.pixels, self._open(block, layer), strict=True):
                    file.read(window, plane)
                    if lut is not None:
                        # clip only skips the bounds check, which would copy `out`: a uint16 cannot leave the table
                        np.take(lut, plane, out=plane, mode="clip")
            except RasterError as error:
                data.fail(str(error))
        return data

    def _open(self, block: Block, layer: Layer) -> list[tuple[RasterFile, npt.NDArray[np.uint16] | None]]:
        """Open file and lookup table of each band of a block's layer."""
        key = (block.tile, block.layer)
        if key not in self._files:
            product = self._products[block.tile]
            bands = ("SCL",) if layer.name == "scl" else GROUPS[block.layer].bands
            # scene classes are no reflectances and stay as they are
            tables = [None if b == "SCL" else lookup_table(product.offsets[b], product.quantification) for b in bands]
            self._files[key] = [(RasterFile(product.files[b]), lut) for b, lut in zip(bands, tables, strict=True)]
        return self._files[key]
