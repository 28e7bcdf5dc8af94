"""Put files into the page cache, find out whether they are in it, and describe the disk of a folder."""

import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

__all__ = ["disk_of", "memory_bytes", "resident_share", "warm"]

_PROBES = 16


def warm(paths: Iterable[Path]) -> int:
    """Read files once, so that they are in the page cache for every repeat; returns their size in bytes."""
    total = 0
    for path in paths:
        with path.open("rb", buffering=0) as file:
            while part := file.read(1 << 22):
                total += len(part)
    return total


def resident_share(paths: Iterable[Path]) -> float:
    """Share of some bytes, spread over the files, that are in the page cache, 0 to 1; NaN if the system cannot tell."""
    hits = probes = 0
    for path in paths:
        handle = os.open(path, os.O_RDONLY)
        try:
            size = os.fstat(handle).st_size
            for k in range(_PROBES if size else 0):
                hits += _is_resident(handle, size * k // _PROBES)
                probes += 1
        except OSError:
            return float("nan")
        finally:
            os.close(handle)
    return hits / probes if probes else float("nan")


def _is_resident(handle: int, offset: int) -> bool:
    try:
        return os.preadv(handle, [bytearray(1)], offset, os.RWF_NOWAIT) == 1
    except BlockingIOError:
        return False


def memory_bytes() -> int:
    """Memory of the machine in bytes."""
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def disk_of(folder: Path) -> dict[str, Any]:
    """Mount point, device, file system and free bytes of the disk of `folder`; "unknown" in some chroots."""
    here = folder.resolve()
    kinds = {"/": ("unknown", "unknown")}
    for line in Path("/proc/mounts").read_text().splitlines():
        device, where, kind = line.split()[:3]
        kinds[where.replace("\\040", " ")] = (device, kind)
    where = next(str(path) for path in (here, *here.parents) if str(path) in kinds)
    space = os.statvfs(folder)
    return {
        "mount": where,
        "device": kinds[where][0],
        "kind": kinds[where][1],
        "free_bytes": space.f_bavail * space.f_frsize,
    }
