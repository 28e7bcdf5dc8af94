"""Versions of installed packages, for the records and attributes that say what made a file."""

import platform
from collections.abc import Iterable
from importlib import metadata

__all__ = ["software_versions"]


def software_versions(packages: Iterable[str], absent: str | None = None) -> dict[str, str | None]:
    """Python's version and that of each package, by name; `absent` for one that is not installed as a package."""
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for name in packages:
        try:
            versions[name] = metadata.version(name)
        except metadata.PackageNotFoundError:
            versions[name] = absent
    return versions
