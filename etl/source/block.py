"""Pixels of one decoded block, as they are held in memory and sent between ranks."""

from typing import NamedTuple

import numpy as np

from etl.plan.layers import Layer

__all__ = ["BlockData", "OutgoingBlock"]

_HEADER_WORDS = 1024
"""uint16 words before a block's pixels: the reason why it could not be decoded, as text; all 0 if it could."""


class BlockData:
    """Pixels of one block of all bands of a layer, or why it could not be decoded; one contiguous message for MPI."""

    def __init__(self, layer: Layer, index: int) -> None:
        window = layer.block_window(index)
        # one buffer, so that reason and pixels travel in one message without a copy
        self.message = np.empty(_HEADER_WORDS + layer.block_pixels(index), np.uint16)
        """The whole message, uint16."""
        self.message[:_HEADER_WORDS] = 0
        self.pixels = self.message[_HEADER_WORDS:].reshape(layer.band_count, window.height, window.width)
        """Shape (band, row, col), uint16; uninitialised if `problem` is not empty."""

    @property
    def problem(self) -> str:
        """Why the block could not be decoded, at most 2,046 bytes of UTF-8; empty if it could."""
        return self.message[:_HEADER_WORDS].tobytes().rstrip(b"\0").decode(errors="replace") if self.message[0] else ""

    def fail(self, reason: str) -> None:
        """Mark the block as not decoded; of a reason longer than 2,046 bytes the end is kept."""
        text = reason.encode(errors="backslashreplace")
        if len(text) > 2 * _HEADER_WORDS - 2:  # a long path comes first, the cause last
            text = b"..." + text[5 - 2 * _HEADER_WORDS :]
        self.message[:_HEADER_WORDS] = np.frombuffer(text.ljust(2 * _HEADER_WORDS, b"\0"), np.uint16)


class OutgoingBlock(NamedTuple):
    """Pixels of a decoded block, and the ranks to which it is sent."""

    data: BlockData
    ranks: tuple[int, ...]
