"""Read the names in a list of patches, in any of the forms that spreadsheets, shells and scripts give such a file.

A name is found with a path before it, in quotes, with a suffix such as `.tif` or `_B02.tif`, beside the name of its
Sentinel-1 patch or a row number, between commas, semicolons or tabs, in UTF-8 or UTF-16, with any line ends. A line can
name several patches of Sentinel-2. Time, column and row in a name may have more or fewer zeros before them than the
source's.
"""

import codecs
import os
import re
from collections.abc import Sequence
from itertools import chain
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from etl.catalogue.names import PATCH_PATTERN
from etl.input_files import NO_LINKS, Links, RefusedFileError, fault_text, open_regular

__all__ = ["read_names", "read_names_and_products", "read_pairs"]

_MOST_BYTES = 256 << 20
"""Most bytes of a list: the longest published one, of products, has 65 MB."""

_PIECE_BYTES = 1 << 20

_QUOTES_AND_BLANKS = " \t\"'`\u00a0\u2018\u2019\u201c\u201d"
_SENTINEL_2 = re.compile("S2[A-D]_(?:MSIL|OPER|USER)")
_PATCH_NAMES = re.compile(rf"(?<![A-Za-z0-9]){PATCH_PATTERN}(?!\d)")
_COLUMN_GAP = re.compile(r"\s*[,;\t]\s*|\s+")
_FALSE, _TRUE = {"", "0", "0.0", "false", "f", "no", "n"}, {"1", "1.0", "true", "t", "yes", "y"}
_HEADING = re.compile("[A-Za-z_ ]*")

# Arrow's regular expressions; each has the one group `found`.
_FIRST_NAME = rf"(?:^|[^A-Za-z0-9])(?P<found>{PATCH_PATTERN})(?:\D|$)"
_LAST_NAME = rf"(?:.*[^A-Za-z0-9]|^)(?P<found>{PATCH_PATTERN})(?:\D|$)"
_FIRST_FIELD, _SECOND_FIELD = r"^(?P<found>[^,;\t]*)", r"^[^,;\t]*[,;\t](?P<found>[^,;\t]*)"
_NUMBERS = r"^(S2[A-D]_MSIL(?:1C|2A)_\d{8}T)0*(\d+)((?:_N\d{4}_R\d{3}_T\d{2}[A-Z]{3})?)_0*(\d+)_0*(\d+)$"
_FILE_STEM = r"(?:^|[/\\])(?P<found>[^/\\]+?)(?:\.[A-Za-z]\w{1,4})?[/\\]?$"
_SENTINEL_1 = r"(?P<found>S1[A-D]_[A-Z]{2}_[A-Z]{4}_[0-9A-Z]{4}_\d{8}T\d{6}_\d{2}[A-Z]{3}_\d{1,3}_\d{1,3})"
_PRODUCT = r"(?P<found>S2[A-D]_MSIL(?:1C|2A)_\d{8}T\d{1,6}_N\d{4}_R\d{3}_T\d{2}[A-Z]{3}_\d{8}T\d{1,6}(?:\.SAFE)?)"


def read_names(path: Path, patches: pa.ChunkedArray | None = None, links: Links = NO_LINKS) -> pa.Array:
    """The patches' names in the lines of a list, dtype string, without heading, comments and empty lines.

    A name can be read in several ways; the first that gives one of `patches` (names, string) is taken, so that a list
    with the names of both versions of BigEarthNet in a line serves either. `links`: where links may lead.

    Raises:
        ValueError: the file cannot be read, is no text, or has a column that marks some of its patches only.
    """
    lines = _read_lines(path, patches, links)
    flags = _find_flags(lines)
    if flags:
        raise ValueError(
            f"{path} must name only the patches that the list is of, got a column of {' and '.join(flags)}; leave out "
            "the lines of the other patches, and that column"
        )
    return _names(_one_patch_a_line(lines), patches)


def read_names_and_products(
    path: Path, patches: pa.ChunkedArray | None = None, links: Links = NO_LINKS
) -> tuple[pa.Array, pa.Array]:
    """The names of patches, as `read_names`, and the product beside each, null where a line has none; dtype string.

    Raises:
        ValueError: the file cannot be read, is no text, no line has a product, or one has several patches.
    """
    lines = _read_lines(path, patches, links)
    if len(_one_patch_a_line(lines)) > len(lines):
        raise ValueError(f"{path} has a line with several patches; each line must hold one patch and its product")
    product = pc.coalesce(_extract(lines, _PRODUCT), _trimmed(_extract(lines, _SECOND_FIELD)))
    if len(lines) and product.null_count == len(lines):
        raise ValueError(f"{path} must have 2 columns, got 1: each line must hold a patch and its product")
    return _names(lines, patches), product


def read_pairs(
    path: Path, patches: pa.ChunkedArray | None = None, links: Links = NO_LINKS
) -> tuple[pa.Array, pa.Array]:
    """The names of patches, as `read_names`, and of the patch of Sentinel-1 beside each; dtype string.

    Raises:
        ValueError: the file cannot be read, is no text, or a line has no such name.
    """
    lines = _read_lines(path, patches, links)
    paired = _extract(lines, _SENTINEL_1)
    if paired.null_count or len(_one_patch_a_line(lines)) > len(lines):
        raise ValueError(f"{path} must have 2 columns: each line must hold a patch and its patch of Sentinel-1")
    return _names(lines, patches), paired


def _read_lines(path: Path, patches: pa.ChunkedArray | None, links: Links) -> pa.Array:
    """The lines of a text file that name a patch."""
    try:
        content = _unpacked(path, links)
        utf_16 = content.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE))  # from > in PowerShell
        # a column beside the names may be in another encoding
        text = content.decode("utf-16") if utf_16 else content.decode("utf-8-sig", errors="replace")
    except RefusedFileError as error:
        raise ValueError(str(error)) from None
    except (pa.ArrowException, OSError, EOFError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} must be a list of patches: {fault_text(error)}") from None
    if "\0" in text:
        raise ValueError(f"{path} must be a list of patches: a text with one name a line; it is a binary file")
    lines = [line for line in text.splitlines() if line.strip(f"{_QUOTES_AND_BLANKS},;[]") and not line.startswith("#")]
    return pa.array(lines[_is_heading(lines, patches) :], pa.string())


def _unpacked(path: Path, links: Links) -> bytes:
    """All bytes of a list, decompressed if its name ends in .gz."""
    compression = "gzip" if path.suffix.lower() == ".gz" else None
    with os.fdopen(open_regular(path, links), "rb") as file, pa.input_stream(file, compression=compression) as stream:
        pieces, size = list[bytes](), 0
        while piece := stream.read(_PIECE_BYTES):  # what is decompressed counts, whatever the file says
            pieces.append(piece)
            size += len(piece)
            if size > _MOST_BYTES:
                raise RefusedFileError(path, f"must be a list of at most {_MOST_BYTES} bytes, got more")
    return b"".join(pieces)


def _is_heading(lines: Sequence[str], patches: pa.ChunkedArray | None) -> bool:
    """Whether the first line holds names of columns: it has no digits, or no name although the second line has one."""
    if not lines or _SENTINEL_2.search(lines[0]):
        return False
    field = re.split("[,;\t]", lines[0])[0].strip(_QUOTES_AND_BLANKS)
    if patches is not None and pc.is_in(pa.scalar(field), value_set=patches.combine_chunks()).as_py():
        return False
    return bool(_HEADING.fullmatch(field) or _SENTINEL_2.search("".join(lines[1:2])))


def _find_flags(lines: pa.Array) -> list[str]:
    """The values of the first column, but that of the names, that holds 0 and 1, true and false or only 0; sorted.

    Empty if there is none. The numbers of the rows are no flags.
    """
    if not len(lines):
        return []
    first = _columns(lines[0].as_py())
    for column in range(0 if _SENTINEL_2.search(lines[0].as_py()) else 1, len(first)):
        if first[column] not in _FALSE | _TRUE:
            continue  # the likely case: the other lines need not be split
        values = [fields[column] if column < len(fields) else "" for fields in map(_columns, lines.to_pylist())]
        distinct = set(values)
        is_flag = distinct <= _FALSE | _TRUE and distinct & _FALSE and distinct != {""}
        if is_flag and (column or values != [str(row) for row in range(len(values))]):
            return sorted(value or "empty" for value in distinct)
    return []


def _columns(line: str) -> list[str]:
    """The fields of a line in lower case, split at separators and blanks, without quotes and brackets."""
    return [field.strip(f"{_QUOTES_AND_BLANKS}()[]{{}}").lower() for field in _COLUMN_GAP.split(line.strip())]


def _one_patch_a_line(lines: pa.Array) -> pa.Array:
    """The lines, with each name on a line of its own where one line names several patches."""
    several = pc.greater(pc.count_substring_regex(lines, PATCH_PATTERN), 1)
    if not pc.any(several).as_py():
        return lines
    pairs = zip(lines.to_pylist(), several.to_pylist(), strict=True)
    return pa.array(chain.from_iterable(_split_names(line) if many else [line] for line, many in pairs), pa.string())


def _split_names(line: str) -> list[str]:
    """The distinct names in a line; the line itself if they are of one patch, in version 1 and version 2."""
    names = list(dict.fromkeys(_PATCH_NAMES.findall(line)))
    tiled = sum(name.count("_") > 4 for name in names)
    is_pair = len(names) == 2 and tiled == 1 and len({_day_and_cell(name) for name in names}) == 1
    return [line] if len(names) < 2 or is_pair else names


def _day_and_cell(name: str) -> tuple[str, str, int, int]:
    """Mission, day, column and row in a name; the time of a version 1 name can be off by seconds."""
    parts = name.split("_")
    return parts[0], parts[2][:8], int(parts[-2]), int(parts[-1])


def _names(lines: pa.Array, patches: pa.ChunkedArray | None) -> pa.Array:
    """The patch's name in each line: a reading that is one of `patches`, else a Sentinel-2 name, else the field."""
    field, first = _trimmed(_extract(lines, _FIRST_FIELD)), _extract(lines, _FIRST_NAME)
    if patches is None:
        return pc.coalesce(first, field)
    known = patches.combine_chunks()
    is_plain = pc.all(pc.equal(_trimmed(lines), first), skip_nulls=False).as_py()
    first = _as_in_source(first, known)
    if is_plain:
        return first  # every line holds a name and nothing else
    name, last = pc.coalesce(first, field), _as_in_source(_extract(lines, _LAST_NAME), known)
    for reading in (_extract(field, _FILE_STEM), last, name, field):  # the last has precedence
        name = pc.if_else(pc.is_in(reading, value_set=known), reading, name)
    return name


def _as_in_source(names: pa.Array, known: pa.Array) -> pa.Array:
    """The names, with as many zeros before time, column and row as one of `known`, names of the source, has."""
    is_known = pc.is_in(names, value_set=known)
    if pc.all(is_known).as_py():
        return names
    same = pc.index_in(_without_zeros(names), value_set=_without_zeros(known))
    return pc.if_else(is_known, names, pc.coalesce(known.take(same), names))


def _without_zeros(names: pa.Array) -> pa.Array:
    """The names of Sentinel-2 patches without zeros before time, column and row; equal for equal patches."""
    return pc.replace_substring_regex(names, _NUMBERS, r"\1\2\3_\4_\5")


def _extract(texts: pa.Array, pattern: str) -> pa.Array:
    """What the group `found` of the pattern matches in each text; null if it does not match."""
    return pc.struct_field(pc.extract_regex(texts, pattern), [0])


def _trimmed(texts: pa.Array) -> pa.Array:
    """The texts without blanks and quotes around them."""
    return pc.utf8_trim(texts, characters=_QUOTES_AND_BLANKS)
