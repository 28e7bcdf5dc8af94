"""Short names of classes, for captions."""

from collections.abc import Sequence

__all__ = ["caption_lines", "short_name"]

_SHORT = {
    "Continuous urban fabric": "Dense urban",
    "Discontinuous urban fabric": "Urban",
    "Industrial or commercial units": "Industry",
    "Road and rail networks and associated land": "Roads, rail",
    "Mineral extraction sites": "Mines",
    "Construction sites": "Construction",
    "Green urban areas": "Urban green",
    "Sport and leisure facilities": "Sport, leisure",
    "Non-irrigated arable land": "Arable",
    "Permanently irrigated land": "Irrigated",
    "Fruit trees and berry plantations": "Orchards",
    "Annual crops associated with permanent crops": "Mixed crops",
    "Complex cultivation patterns": "Complex cultivation",
    "Land principally occupied by agriculture, with significant areas of natural vegetation": "Farmland, nature",
    "Agro-forestry areas": "Agro-forestry",
    "Broad-leaved forest": "Broad-leaved forest",
    "Natural grassland": "Natural grass",
    "Moors and heathland": "Moors, heath",
    "Sclerophyllous vegetation": "Sclerophyllous",
    "Transitional woodland/shrub": "Woodland, shrub",
    "Transitional woodland, shrub": "Woodland, shrub",
    "Beaches, dunes, sands": "Beaches, dunes",
    "Sparsely vegetated areas": "Sparse vegetation",
    "Burnt areas": "Burnt",
    "Inland marshes": "Inland marsh",
    "Salt marshes": "Salt marsh",
    "Water courses": "River",
    "Water bodies": "Lake",
    "Sea and ocean": "Sea",
    "Natural grassland and sparsely vegetated areas": "Grass, sparse",
    "Moors, heathland and sclerophyllous vegetation": "Moors, shrub",
}


def short_name(name: str) -> str:
    """Return a class's name in at most two or three words."""
    return _SHORT.get(name, name)


def caption_lines(names: Sequence[str], width: int, lines: int) -> list[str]:
    """Return short names of classes in at most `lines` lines of `width` characters; what does not fit is counted."""
    if not names:
        return ["no label"]
    words = [short_name(name) for name in names]
    for shown in range(len(words), 0, -1):
        rest = [f"+{len(words) - shown}"] if shown < len(words) else []
        out = _wrap(words[:shown] + rest, width)
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
