"""Short names of classes, for captions: `class_names.csv` lists those that differ from the published name."""

from collections.abc import Sequence

from etl.tables import read_table

__all__ = ["caption_lines", "short_name"]

_SHORT = {row["name"]: row["short_name"] for row in read_table(__file__, "class_names.csv")}


def short_name(name: str) -> str:
    """Return a class's name in at most two or three words."""
    return _SHORT.get(name, name)


def caption_lines(names: Sequence[str], width: int, lines: int) -> list[str]:
    """Return short names of classes in at most `lines` lines of `width` characters; what does not fit is counted."""
    if not names:
        return ["no label"]
    words = [short_name(name) for name in names]
    for count in range(len(words), 0, -1):
        rest = [f"+{len(words) - count}"] if count < len(words) else []
        out = _wrap(words[:count] + rest, width)
        if len(out) <= lines:
            return out
    return [f"{len(words)} labels"]


def _wrap(words: Sequence[str], width: int) -> list[str]:
    out = [words[0]]
    for word in words[1:]:
        joined = f"{out[-1]} · {word}"
        if len(joined) <= width:
            out[-1] = joined
        else:
            out.append(word)
    return out
