"""Cut patches from products: each block is decoded once, by one rank, and sent to the others that need it.

A rank first decodes the blocks that other ranks wait for and sends them. Then it goes through its patches in store
order, receives other ranks' blocks, and frees each block after the last patch that needs it. It decodes its own blocks
ahead of use, evenly over its patches: decoding a whole row of blocks when its first patch comes would stall all ranks
in the next collective write. A block that cannot be decoded rejects the patches that need it, on whichever rank.
"""

from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from etl.bands import GROUPS
from etl.bucket_files import is_remote
from etl.grid import PixelWindow
from etl.heartbeat import doing
from etl.input_files import fault_text
from etl.plan.decode_schedule import schedule_decoding
from etl.plan.layers import Layer, patch_window
from etl.plan.work import Block, ProductPatches, RankWork
from etl.product_files import ProductError
from etl.raster import Georeference, RasterError
from etl.source.block import BlockData, OutgoingBlock
from etl.source.block_reader import BlockReader
from etl.source.interface import BlockReceiver, SourcePatch
from etl.source.open_product import OpenBand, open_band
from etl.source.patch import Patch, PatchError, mirror_border
from etl.source.product import Product
from etl.source.radiometry import lookup_table
from etl.source.remote_image import RemoteImage
from etl.source.unit_guard import UnitGuard
from etl.source.warning import UNPLACED, SourceWarning
from etl.source.zarr_band import ZarrBand
from etl.stage_timer import StageTimer

__all__ = ["ABSENT_CHUNKS", "UNCLASSIFIED", "UNUSED_SCL", "ProductLayers", "TilePatches", "layers_of"]

UNUSED_SCL = "products whose scene classification cannot be used, so that cloud and snow shares are NaN"
ABSENT_CHUNKS = "bands of Zarr products with chunks that have no file, which are read as pixels without data"
UNCLASSIFIED = "patches whose part of the scene classification is broken, so that cloud and snow shares are NaN"
"""What `SourceWarning` says of such products and patches."""


class ProductLayers(NamedTuple):
    """Layers of a product whose files have been opened and compared with its metadata."""

    layers: tuple[Layer, ...]
    """The three groups and, if the product has a usable one, the scene classification."""

    warnings: tuple[SourceWarning, ...]
    """What is odd about the files, but no reason to reject the product."""


def layers_of(product: Product, halo_px: Sequence[int]) -> ProductLayers:
    """Open each band's file of a product, compare it with the metadata, and return the layers.

    Size, pixel type, corner, pixel size and projection must be those that the metadata give. `halo_px`: halo of each
    group in pixels. A scene classification that cannot be used is left out, as if the product had none.

    Raises:
        ProductError: a band's file cannot be opened, or differs from the metadata.
    """
    layers, opened, warnings = list[Layer](), list[OpenBand](), list[SourceWarning]()
    with _opening(product) as opens:
        for group, halo in zip(GROUPS, halo_px, strict=True):
            files = [opens[band]() for band in group.bands]
            layers.append(_layer(group.name, group.gsd_m, files, halo))
            opened += files
        if "SCL" in product.files:
            try:
                opened.append(opens["SCL"]())
                layers.append(_layer("scl", 20, opened[-1:], 0))
            except ProductError as error:
                warnings.append(SourceWarning(UNUSED_SCL, f"{product.name}: {error}"))
    for what, paths in (
        (ABSENT_CHUNKS, [file.path for file in opened if isinstance(file, ZarrBand) and file.absent_chunks]),
        (UNPLACED, [file.path for file in opened if not file.is_placed]),
    ):
        if paths:
            warnings.append(SourceWarning(what, paths[0], len(paths)))
    return ProductLayers(tuple(layers), tuple(warnings))


def _layer(name: str, gsd_m: int, files: Sequence[OpenBand], halo_px: int) -> Layer:
    cost = max(file.decode_cost for file in files)
    return Layer(name, gsd_m, len(files), files[-1].shape, files[-1].block, halo_px, cost)


@contextmanager
def _opening(product: Product) -> Iterator[Mapping[str, Callable[[], OpenBand]]]:
    """By band, what opens and checks its file; all files of a bucket at once, as each takes many small requests."""
    checked = {band: (group.gsd_m, "UInt16") for group in GROUPS for band in group.bands} | {"SCL": (20, "Byte")}
    opens = {band: partial(_open_checked, product, band, *of) for band, of in checked.items() if band in product.files}
    if not is_remote(Path(product.path)):
        yield opens
        return
    with ThreadPoolExecutor(len(opens)) as pool:
        yield {band: pool.submit(opening).result for band, opening in opens.items()}


def _open_checked(product: Product, band: str, gsd_m: int, dtype: str) -> OpenBand:
    """A band's file, which must have the size and place that the metadata give, and GDAL's pixel type `dtype`."""
    grid, size = product.grid, product.grid.size_px * 10 // gsd_m
    try:
        file = open_band(product, band)
        mismatch = file.mismatch((size, size), dtype, Georeference(grid.epsg, grid.ulx, grid.uly, gsd_m))
    except RasterError as error:
        raise ProductError(f"band {band}: {error}") from None
    if mismatch:
        raise ProductError(f"band {band} {mismatch} in {file.path}")
    return file


class TilePatches:
    """`PatchSource` of one rank that decodes products."""

    def __init__(
        self,
        work: RankWork,
        product_patches: Mapping[int, ProductPatches],
        products: Mapping[int, Product],
        receiver: BlockReceiver,
        timer: StageTimer | None = None,
        guard: UnitGuard | None = None,
    ) -> None:
        """Args: patches and metadata of each product in `work`, by its index; `receiver` of other ranks' blocks.

        Seconds are added to `decode_s` and `wait_for_blocks_s` of `timer`; `guard` limits the time for a block.
        """
        self.decoded = 0
        self._reader = BlockReader(guard or UnitGuard())
        self._work, self._product_patches, self._products = work, product_patches, products
        self._receiver = receiver
        self._timer = timer or StageTimer()
        self._cache: dict[Block, BlockData] = {}
        schedule = schedule_decoding(work, product_patches)
        self._uses_left, self._to_decode = schedule.uses, deque(schedule.decodes)
        self._unsent = deque(work.sends)
        # how far to decode ahead while waiting for another rank: more would hold more blocks in memory
        self._patches_ahead = schedule.lifetime // 2
        self._patches_done = 0
        self._files: dict[tuple[int, int], list[tuple[OpenBand, npt.NDArray[np.uint16] | None]]] = {}
        self._buffers: dict[Layer, npt.NDArray[np.uint16]] = {}
        self._unclassified, self._first_unclassified = 0, ""

    @property
    def warnings(self) -> list[SourceWarning]:
        """What was odd about the patches so far."""
        first, count = self._first_unclassified, self._unclassified
        return [SourceWarning(UNCLASSIFIED, first, count)] if count else []

    def outgoing(self) -> Iterator[OutgoingBlock]:
        """Blocks of pixels that other ranks wait for; to be exhausted before `patches`."""
        for block, ranks in self._work.sends.items():
            self._unsent.popleft()
            data = self._decode(block)
            if self._uses_left[block]:
                self._cache[block] = data
            yield OutgoingBlock(data, ranks)

    def patches(self) -> Iterator[SourcePatch]:
        """All patches of this rank in store order, pixels uint16."""
        for part in self._work.patches:
            product = self._product_patches[part.product]
            for k in range(part.first, part.stop):
                while self._to_decode and self._to_decode[0].before_patch <= self._patches_done:
                    self._decode_next()
                patch = self._patch(part.product, int(product.patch_row[k]), int(product.patch_col[k]))
                yield SourcePatch(int(product.rows[k]), patch)
                self._patches_done += 1
            # a rank that kept the files of hundreds of products open would run out of file descriptors
            for key in [key for key in self._files if key[0] == part.product]:
                del self._files[key]

    def _patch(self, product: int, patch_row: int, patch_col: int) -> Patch | PatchError:
        windows, problem = [], None
        for number, layer in enumerate(self._product_patches[product].layers):
            out = self._buffers.get(layer)  # reused: a fresh buffer for each patch costs page faults
            if out is None:
                side = layer.patch_px + 2 * layer.halo_px
                out = self._buffers[layer] = np.empty((layer.band_count, side, side), np.uint16)
            try:
                self._fill(out, product, number, patch_window(layer, patch_row, patch_col))
            except PatchError as error:
                if layer.name == "scl":  # no pixel depends on it
                    self._unclassified += 1
                    self._first_unclassified = self._first_unclassified or str(error)
                    continue
                problem = problem or error
            windows.append(out)
        if problem is not None:
            return problem
        native, scene = windows[: len(GROUPS)], windows[len(GROUPS) :]  # see layers_of
        # astype copies, while the native windows are reused for the next patch
        return Patch(tuple(native), scene[0][0].astype(np.uint8) if scene else None)

    def _fill(self, out: npt.NDArray[np.uint16], product: int, layer_index: int, window: PixelWindow) -> None:
        """Copy a window of a product's layer from the blocks that hold it, mirrored beyond the tile's border."""
        layer = self._product_patches[product].layers[layer_index]
        inside = window.intersection(PixelWindow(0, 0, *layer.size_px))
        (height, width), columns = layer.block_px, layer.block_grid[1]
        problem = ""
        for block_row in range(inside.row // height, (inside.row + inside.height - 1) // height + 1):
            for block_col in range(inside.col // width, (inside.col + inside.width - 1) // width + 1):
                block = Block(product, layer_index, block_row * columns + block_col)
                data, block_window = self._block_data(block), layer.block_window(block.index)
                problem = problem or data.problem
                overlap = inside.intersection(block_window)
                out[:, *overlap.slices_in(window)] = data.pixels[:, *overlap.slices_in(block_window)]
                self._release(block)
        if problem:
            raise PatchError(problem)
        mirror_border(out, inside._replace(row=inside.row - window.row, col=inside.col - window.col))

    def _decode_next(self) -> None:
        """Decode the next of the blocks that this rank decodes for itself."""
        block = self._to_decode.popleft().block
        self._cache[block] = self._decode(block)

    def _block_data(self, block: Block) -> BlockData:
        """A block from memory, else from another rank; this rank decodes its own next blocks while it waits."""
        data = self._cache.get(block) or self._receiver.take_arrived(block)
        limit = self._patches_done + self._patches_ahead
        while data is None and self._to_decode and self._to_decode[0].before_patch <= limit:
            self._decode_next()
            data = self._receiver.take_arrived(block)
        if data is None:
            with self._timer.stage("wait_for_blocks_s"), doing(f"waiting for {block} of another rank", waits=True):
                data = self._receiver.wait_for(block)
        self._cache[block] = data
        return data

    def _release(self, block: Block) -> None:
        """Count a use of a block; drop its pixels after the last."""
        self._uses_left[block] -= 1
        if self._uses_left[block] <= 0:
            del self._cache[block]

    def _decode(self, block: Block) -> BlockData:
        """Decode one block of all bands of a layer, on the store's scale: reflectance x 10,000, uint16."""
        layer = self._product_patches[block.product].layers[block.layer]
        with self._timer.stage("decode_s"):
            data, window = BlockData(layer, block.index), layer.block_window(block.index)
            try:
                for plane, (file, table) in zip(data.pixels, self._open(block, layer), strict=True):
                    self._reader.read(file, window, plane)
                    if table is not None:
                        # clip only skips the bounds check, which would copy `out`: a uint16 cannot leave the table
                        np.take(table, plane, out=plane, mode="clip")
            except RasterError as error:
                data.fail(str(error))
            except ConnectionError:  # a server does not answer: a later run can succeed
                raise
            except Exception as error:  # one block must not end the run
                data.fail(f"{self._products[block.product].path} cannot be read: {fault_text(error)}")
        self.decoded += 1
        return data

    def _open(self, block: Block, layer: Layer) -> list[tuple[OpenBand, npt.NDArray[np.uint16] | None]]:
        """Open file and lookup table of each band of a block's layer."""
        key = (block.product, block.layer)
        if key not in self._files:
            product = self._products[block.product]
            bands = ("SCL",) if layer.name == "scl" else GROUPS[block.layer].bands
            # scene classes are no reflectances and stay as they are
            tables = [None if b == "SCL" else lookup_table(product.offsets[b], product.quantification) for b in bands]
            files = [self._reader.open(product, b) for b in bands]
            if remote := [file for file in files if isinstance(file, RemoteImage)]:
                windows = [layer.block_window(index) for index in self._coming(block)]
                for file in remote:
                    file.expect(windows)
            self._files[key] = list(zip(files, tables, strict=True))
        return self._files[key]

    def _coming(self, block: Block) -> list[int]:
        """Flat index of a block, and of those of the same layer that this rank decodes after it, in that order."""
        coming = (*self._unsent, *(item.block for item in self._to_decode))
        same = (one.index for one in coming if (one.product, one.layer) == (block.product, block.layer))
        return list(dict.fromkeys((block.index, *same)))
