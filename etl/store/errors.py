"""Error of reading a store that is damaged on the disk."""

__all__ = ["SHARD_IS_DAMAGED", "DamagedStoreError"]

SHARD_IS_DAMAGED = "the shard is damaged; python -m etl.verify lists such rows"
"""What messages about a shard of a Zarr store end with."""


class DamagedStoreError(OSError):
    """Bytes of a store are not what was written: a partly written shard, or an index with a wrong checksum."""
