"""Interfaces of a source of patches: what extraction asks of it, and where it gets blocks of other ranks."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple, Protocol

from etl.plan.work import Block
from etl.source.block import BlockData, OutgoingBlock
from etl.source.patch import Patch, PatchError
from etl.source.warning import SourceWarning

__all__ = ["BlockReceiver", "PatchSource", "SourcePatch"]


class SourcePatch(NamedTuple):
    """Store row of a patch, and its pixels, uint16, or why it cannot be extracted."""

    row: int
    patch: Patch | PatchError


class PatchSource(Protocol):
    """Where one rank's patches come from: products, or a patch archive.

    `decoded` counts the blocks that this rank decoded, all bands of a layer as one; patches read, in a patch archive.
    """

    decoded: int

    @property
    def warnings(self) -> Sequence[SourceWarning]:
        """What was odd about the patches given so far, but rejects none."""

    def outgoing(self) -> Iterator[OutgoingBlock]:
        """Blocks of pixels that other ranks wait for; to be exhausted before `patches` is begun."""

    def patches(self) -> Iterator[SourcePatch]:
        """The rank's patches in store order, pixels uint16."""


class BlockReceiver(Protocol):
    """Where blocks arrive that other ranks decode."""

    def take_arrived(self, block: Block) -> BlockData | None:
        """The pixels of the block, uint16, or None if they have not arrived yet."""

    def wait_for(self, block: Block) -> BlockData:
        """The pixels of the block, uint16, once they have arrived."""
