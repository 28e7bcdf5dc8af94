"""Bytes of a file at a known place, read to where they belong."""

import os

__all__ = ["fill"]


def fill(file: int, part: memoryview, start: int) -> bool:
    """Fill `part` with the bytes of an open file from `start` on; False where the file ends before, or begins after."""
    if start < 0:
        return False
    done = 0
    while done < len(part):
        got = os.preadv(file, [part[done:]], start + done)
        if got == 0:
            return False
        done += got
    return True
