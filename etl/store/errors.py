"""Error of reading a store that is damaged on the disk."""

__all__ = ["DamagedStoreError"]


class DamagedStoreError(OSError):
    """Bytes of a store are not what was written: a partly written shard, or an index with a wrong checksum."""
