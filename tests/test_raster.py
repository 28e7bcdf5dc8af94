"""Raster files: who decodes a JPEG 2000 block."""

import os
import subprocess
import sys

import numpy as np
import pytest

from etl.raster import Georeference, write_jp2

READ = """
import sys, time
import numpy as np
from etl.raster import RasterFile, configure
configure(int(sys.argv[2]))
file, out = RasterFile(sys.argv[1]), np.empty((512, 512), np.uint16)
mine, whole = time.thread_time(), time.process_time()
file.read((0, 0, 512, 512), out)
print((time.thread_time() - mine) / (time.process_time() - whole))
"""


@pytest.mark.parametrize(("threads", "alone"), [(1, True), (2, False)])
def test_one_thread_that_decodes_is_the_callers_own(tmp_path, threads, alone):
    noise = np.random.default_rng(3).integers(1, 4000, (512, 512)).astype(np.uint16)
    write_jp2(tmp_path / "noise.jp2", noise, Georeference(32633, 0, 0, 10), 512)
    environment = {name: value for name, value in os.environ.items() if name != "OPJ_NUM_THREADS"}
    call = [sys.executable, "-c", READ, str(tmp_path / "noise.jp2"), str(threads)]
    done = subprocess.run(call, env=environment, capture_output=True, text=True, check=True, timeout=200)
    assert (float(done.stdout) > 0.9) == alone
