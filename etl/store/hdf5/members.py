"""List the arrays of an HDF5 file, once it is certain that no member of it leads out of the file.

A file can name others: by links, external storage, virtual data sets and references. HDF5 follows all of these without
a word, so that a store could make a command read any file of its user. Here nothing is followed: links are listed with
their kind, and arrays are opened only for their properties of creation, which lie in the file itself.

Source: HDF5 reference manual, H5Literate, H5Pget_external, H5Pget_layout, H5Tdetect_class; netCDF-4, dimension scales.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from h5py import h5a, h5d, h5g, h5l, h5o, h5t, h5z

__all__ = ["list_arrays"]

_MOST_MEMBERS = 10_000
"""Members of a file; a store has fewer than a hundred."""

_MOST_COLUMN_BYTES = 4 << 30
"""Bytes of an array other than pixels, which is read into memory as a whole."""

_SCALES = ("DIMENSION_LIST", "REFERENCE_LIST")
"""Attributes that attach dimension scales by references to objects of the same file."""

_FILTERS = {
    h5z.FILTER_DEFLATE: "gzip",
    h5z.FILTER_SHUFFLE: "shuffle",
    h5z.FILTER_FLETCHER32: "Fletcher-32",
    32000: "LZF",
    32001: "blosc",
    32015: "zstd",
}
"""Filters of h5py and hdf5plugin. For any other number HDF5 would load a library from `HDF5_PLUGIN_PATH`."""

_ADVICE = "a store must hold all of its data itself; copy them into it, for example with h5repack or h5copy"


def list_arrays(file: h5py.File) -> dict[str, h5py.Dataset]:
    """Every array of an open file by name, e.g. `stats/data_10m/sum`, none of which leads out of the file.

    Raises:
        ValueError: a member leads out of the file, goes in a circle, needs a filter that is not known, or claims bytes
            that the file does not have.
    """
    size = Path(file.filename).stat().st_size
    arrays = {}
    for name, member in _members(file):
        _check_references(name, member)
        if isinstance(member, h5d.DatasetID):
            _check_storage(name, member)
            arrays[name] = h5py.Dataset(member)
            _check_size(name, arrays[name], size)
    return arrays


def _members(file: h5py.File) -> Iterator[tuple[str, Any]]:
    """Name and low-level identifier of each member, the root among them, by name within each group."""
    root = h5g.open(file.id, b"/")
    pending: list[tuple[str, Any]] = [("", root)]
    groups, count = {h5o.get_info(root).addr}, 0
    while pending:
        name, member = pending.pop()
        yield name, member
        if not isinstance(member, h5g.GroupID):
            continue
        links: list[tuple[bytes, int]] = []
        # the kind at once, as h5py describes each link in one and the same object
        member.links.iterate(lambda link, info, links=links: links.append((link, info.type)), info=True)
        count += len(links)
        if count > _MOST_MEMBERS:
            raise ValueError(f"it must have at most {_MOST_MEMBERS} members, got more, below {name or '/'}")
        for link, kind in reversed(links):
            inner = f"{name}/{link.decode(errors='backslashreplace')}".removeprefix("/")
            if kind != h5l.TYPE_HARD or b"/" in link:  # with / HDF5 would take the name for a path
                raise ValueError(f"{inner} is {_link_target(member, link, kind)}; {_ADVICE}")
            found = h5o.open(member, link)
            if isinstance(found, h5g.GroupID):
                address = h5o.get_info(found).addr
                if address in groups:
                    raise ValueError(f"{inner} must be a group of its own, but is another name of one that holds it")
                groups.add(address)
            pending.append((inner, found))


def _link_target(group: Any, link: bytes, kind: int) -> str:
    """What a link that is not hard leads to, in words."""
    if kind == h5l.TYPE_SOFT:
        return f"a soft link to {group.links.get_val(link).decode(errors='backslashreplace')}"
    if kind == h5l.TYPE_EXTERNAL:
        path, member = (part.decode(errors="backslashreplace") for part in group.links.get_val(link))
        return f"a link to {member} of the file {path}"
    return "a name with /" if kind == h5l.TYPE_HARD else f"a link of kind {kind}, which needs a library"


def _check_references(name: str, member: Any) -> None:
    """Raise a ValueError if an attribute, or the array itself, holds references other than those of scales."""
    if isinstance(member, h5d.DatasetID) and member.get_type().detect_class(h5t.REFERENCE):
        raise ValueError(f"{name} must hold numbers or text, got references; {_ADVICE}")
    for number in range(h5a.get_num_attrs(member)):
        attribute = h5a.open(member, index=number)
        kind = attribute.get_type()
        if kind.detect_class(h5t.REFERENCE) and not _attaches_scales(attribute.name, kind):
            stated = attribute.name.decode(errors="backslashreplace")
            raise ValueError(f"attribute {stated} of {name or '/'} must hold numbers or text, got references")


def _attaches_scales(attribute: bytes, kind: Any) -> bool:
    """Whether an attribute is one of dimension scales, with references that can lead to objects of this file alone."""
    if attribute.decode(errors="replace") not in _SCALES:
        return False
    if isinstance(kind, h5t.TypeCompoundID):  # (reference, number of the axis)
        return bool(kind.get_member_type(0).equal(h5t.STD_REF_OBJ))
    return isinstance(kind, h5t.TypeVlenID) and bool(kind.get_super().equal(h5t.STD_REF_OBJ))


def _check_storage(name: str, array: h5d.DatasetID) -> None:
    """Raise a ValueError if the values of an array lie in other files, or go through a filter that is not known."""
    creation = array.get_create_plist()
    if creation.get_external_count():
        path = creation.get_external(0)[0].decode(errors="backslashreplace")
        raise ValueError(f"{name} has its values in the file {path}; {_ADVICE}")
    if creation.get_layout() == h5d.VIRTUAL:
        path = creation.get_virtual_filename(0) if creation.get_virtual_count() else "no file"
        raise ValueError(f"{name} is a virtual data set, which shows arrays of {path}; {_ADVICE}")
    for position in range(creation.get_nfilters()):
        number = creation.get_filter(position)[0]
        if number not in _FILTERS:
            known = ", ".join(_FILTERS.values())
            raise ValueError(f"{name} must be compressed by one of {known}, got HDF5's filter {number}")


def _check_size(name: str, array: h5py.Dataset, file_bytes: int) -> None:
    """Raise a ValueError if an array claims more bytes than the file has, or than are read at once."""
    shape = array.id.get_space().get_simple_extent_dims()
    if shape is None:
        raise ValueError(f"{name} must have a shape, got an array without values")
    claimed = int(np.prod(shape, dtype=object)) * array.id.get_type().get_size()
    offset = array.id.get_offset()  # None: in chunks, or never written
    if offset is not None and offset + claimed > file_bytes:
        raise ValueError(
            f"{name} must lie within the {file_bytes} bytes of the file, got {claimed} bytes from byte {offset} on; "
            "the file is truncated or damaged: copy it again"
        )
    if len(shape) < len(("patch", "row", "col", "band")) and claimed > _MOST_COLUMN_BYTES:
        raise ValueError(f"{name} must have at most {_MOST_COLUMN_BYTES} bytes, got shape {shape} of {claimed} bytes")
