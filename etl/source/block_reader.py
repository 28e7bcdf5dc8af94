"""Decode blocks of raster files within a limit of computing time; also a program that decodes one block.

The first block of a file that takes too long is abandoned with the thread that decodes it. All blocks of such a file
tend to be slow, and each would leave a thread that computes on. So its further blocks are decoded by child processes,
which the system ends at the limit.
"""

import ctypes
import signal
import subprocess
import sys

import numpy as np
import numpy.typing as npt

from etl.grid import PixelWindow
from etl.raster import RasterError, RasterFile, configure
from etl.source.open_product import OpenBand, open_band
from etl.source.product import Product
from etl.source.unit_guard import SlowUnitError, UnitError, UnitGuard

__all__ = ["BlockReader"]

_BROKEN = 3
"""Exit status of the program for a block that cannot be decoded; its output is the reason."""

_PR_SET_PDEATHSIG = 1
"""Source: linux/prctl.h."""


class BlockReader:
    """Opens files and decodes their blocks."""

    def __init__(self, guard: UnitGuard) -> None:
        self._guard = guard
        self._slow: set[str] = set()

    def open(self, product: Product, band: str) -> OpenBand:
        """The file of a band of a product.

        Raises:
            RasterError: it cannot be opened, or an earlier run hung there.
        """
        try:
            return self._guard.run_unlimited("opening", product.files[band], lambda: open_band(product, band))
        except UnitError as error:
            raise RasterError(str(error)) from None

    def read(self, file: OpenBand, window: PixelWindow, out: npt.NDArray[np.uint16]) -> None:
        """Decode a window of a file into `out`, shape (row, col), uint16.

        Raises:
            RasterError: it is broken there, it takes too long (`out` may then still be written to), or an earlier run
                hung there.
        """
        unit = f"{file.path}, block at row {window.row}, column {window.col}"
        try:
            if file.path in self._slow and not isinstance(file, RasterFile):
                raise RasterError(f"{unit}: an earlier block of this file took too long")
            if file.path in self._slow:  # an abandoned thread may still use the open file
                self._guard.run_unlimited("decoding", unit, lambda: self._read_in_child(unit, file.path, window, out))
            else:
                self._guard.run("decoding", unit, lambda: file.read(window, out))
        except UnitError as error:
            if isinstance(error, SlowUnitError):
                self._slow.add(file.path)
            raise RasterError(str(error)) from None

    def _read_in_child(self, unit: str, path: str, window: PixelWindow, out: npt.NDArray[np.uint16]) -> None:
        numbers = map(str, (self._guard.limit_s, *window))
        done = subprocess.run([sys.executable, "-m", __name__, path, *numbers], stdout=subprocess.PIPE, check=False)
        if done.returncode == -signal.SIGPROF:
            raise self._guard.too_slow(unit)
        if done.returncode == _BROKEN:
            raise RasterError(done.stdout.decode(errors="replace"))
        if done.returncode:
            raise RasterError(f"{unit}: it cannot be decoded: the decoder ended with status {done.returncode}")
        out[...] = np.frombuffer(done.stdout, out.dtype).reshape(out.shape)


def _decode_one(path: str, limit_s: float, window: PixelWindow) -> int:
    """Write the uint16 pixels of a window to the standard output, or why it cannot be decoded; the exit status."""
    if sys.platform == "linux":  # the parent can be ended while this process waits for a disk
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    configure()
    signal.setitimer(signal.ITIMER_PROF, limit_s)  # its signal ends a process that computes for so long
    pixels = np.empty((window.height, window.width), np.uint16)
    try:
        RasterFile(path).read(window, pixels)
    except RasterError as error:
        sys.stdout.buffer.write(str(error).encode(errors="replace"))
        return _BROKEN
    sys.stdout.buffer.write(pixels.tobytes())
    return 0


if __name__ == "__main__":
    sys.exit(_decode_one(sys.argv[1], float(sys.argv[2]), PixelWindow(*map(int, sys.argv[3:]))))
