"""Errors of a store: it is damaged, it leads out of its folder, or another run writes it now."""

__all__ = ["SHARD_IS_DAMAGED", "DamagedStoreError", "ForeignFileError", "TakenOverError"]

SHARD_IS_DAMAGED = "the shard is damaged; python -m etl.verify lists such rows"
"""What messages about a shard of a Zarr store end with."""


class DamagedStoreError(OSError):
    """Bytes of a store are not what was written: a partly written shard, or an index with a wrong checksum."""


class ForeignFileError(DamagedStoreError, ValueError):
    """A link, a pipe or a device stands in place of a file of a store: bad input, whenever it is met."""


class TakenOverError(ConnectionError):
    """Another run has taken the store over; this one can change nothing any more, and the other completes the store."""
