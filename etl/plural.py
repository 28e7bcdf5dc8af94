"""Numbers with their nouns in messages."""

__all__ = ["counted"]


def counted(number: int, noun: str) -> str:
    """A number and its noun, in the plural unless there is one: "1 patch", "2 patches", "3 classes"."""
    return f"{number} {noun if number == 1 else noun + ('es' if noun.endswith(('ch', 'ss')) else 's')}"
