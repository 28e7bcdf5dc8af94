"""A part of a Blosc buffer, decoded from its own bytes."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from numcodecs import Blosc, blosc

from etl.source.blosc_frame import read_blosc_frame

PIXELS = (np.cumsum(np.random.default_rng(0).integers(-9, 10, 40_000)) + 2000).astype("<u2")
DATA = PIXELS.tobytes()
CODECS = {
    "as published": Blosc("zstd", 3, Blosc.BITSHUFFLE, blocksize=4096),
    "lz4": Blosc("lz4", 5, Blosc.SHUFFLE, blocksize=4096),
    "blosclz": Blosc("blosclz", 1, Blosc.NOSHUFFLE, blocksize=8192),
    "zlib": Blosc("zlib", 1, Blosc.SHUFFLE, blocksize=16384),
    "one block": Blosc("zstd", 3, Blosc.BITSHUFFLE, blocksize=1 << 20),
    "not compressed": Blosc("zstd", 0, Blosc.NOSHUFFLE),
}
BUFFERS = {name: bytes(codec.encode(PIXELS)) for name, codec in CODECS.items()}


class Recorded:
    """A buffer that counts the bytes that are read of it."""

    def __init__(self, data):
        self.data, self.bytes = data, 0

    def __call__(self, offset, size):
        self.bytes += size
        return self.data[offset : offset + size]


@pytest.mark.parametrize("name", CODECS)
@given(st.integers(0, len(DATA) - 1), st.integers(1, len(DATA)))
def test_any_part_is_that_of_the_whole(name, start, length):
    read, stop = Recorded(BUFFERS[name]), min(start + length, len(DATA))
    assert bytes(read_blosc_frame(read, len(DATA)).read(read, start, stop)) == DATA[start:stop]


def test_only_the_blocks_of_a_part_are_read():
    read = Recorded(BUFFERS["as published"])
    frame = read_blosc_frame(read, len(DATA))
    read.bytes = 0
    frame.read(read, 40_000, 44_000)
    assert read.bytes < len(read.data) / 8


def test_blocks_may_lie_in_any_order():
    big = np.tile(PIXELS, 200)
    blosc.set_nthreads(4)
    wanted = big.tobytes()
    for _ in range(20):  # threads write blocks as they are done
        data = bytes(blosc.compress(big, b"zstd", 1, blosc.BITSHUFFLE, 32768))
        frame = read_blosc_frame(Recorded(data), len(wanted))
        if (np.diff(frame.starts) < 0).any():
            break
    for start in range(0, len(wanted), 1_234_567):
        stop = min(start + 1_000_000, len(wanted))
        assert bytes(frame.read(Recorded(data), start, stop)) == wanted[start:stop]


BUFFER = BUFFERS["as published"]
DAMAGED = {
    "empty": (b"", "must begin with the 16 bytes"),
    "another format": (b"\x28\xb5\x2f\xfd" + BUFFER[4:], "must decode to 80000 bytes|version 2"),
    "another version": (b"\x01" + BUFFER[1:], "version 2"),
    "another size": (BUFFER[:4] + b"\0\0\0\1" + BUFFER[8:], "must decode to 80000 bytes"),
    "blocks of no bytes": (BUFFER[:8] + b"\0\0\0\0" + BUFFER[12:], "must have 128 to 80000 bytes"),
    "blocks larger than all": (BUFFER[:8] + b"\0\0\0\1" + BUFFER[12:], "must have 128 to 80000 bytes"),
    "places cut": (BUFFER[:30], "places of its 20 blocks"),
    "a place in the header": (BUFFER[:16] + b"\3\0\0\0" + BUFFER[20:], "places of its 20 blocks"),
    "a negative place": (BUFFER[:16] + b"\xff\xff\xff\xff" + BUFFER[20:], "places of its 20 blocks"),
    "a place beyond the end": (BUFFER[:16] + b"\0\0\0\x7f" + BUFFER[20:], "places of its 20 blocks"),
    "cut": (BUFFER[:-100], "ends at byte"),
    "zeros": (BUFFER[:200] + bytes(len(BUFFER) - 200), "damaged in its blocks"),
}


@pytest.mark.parametrize("name", DAMAGED)
def test_damage_is_told(name):
    data, message = DAMAGED[name]
    read = Recorded(data)
    with pytest.raises(ValueError, match=message):
        read_blosc_frame(read, len(DATA)).read(read, 0, len(DATA))


@given(st.lists(st.tuples(st.integers(0, len(BUFFER) - 1), st.integers(0, 255)), min_size=1, max_size=8))
def test_changed_bytes_give_an_error_or_as_many_bytes(changes):
    data = bytearray(BUFFER)
    for at, value in changes:
        data[at] = value
    read = Recorded(bytes(data))
    with contextlib.suppress(ValueError):
        assert len(read_blosc_frame(read, len(DATA)).read(read, 10_000, 30_000)) == 20_000
