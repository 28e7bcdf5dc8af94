"""The processor's model and vector extensions, which decide the last bits of what networks compute.

Source: /proc/cpuinfo of Linux; elsewhere the model is what Python knows of it, and extensions are not known.
"""

import platform
import re
from pathlib import Path

__all__ = ["describe", "model_name", "vector_extensions"]

_CPUINFO = Path("/proc/cpuinfo")
_VECTOR = re.compile(r"(avx|fma|amx|sse4|sve|asimd)")


def model_name() -> str:
    """Name of the processor."""
    return _field("model name") or platform.processor() or platform.machine()


def vector_extensions() -> tuple[str, ...]:
    """Vector instruction sets in the kernel's names, sorted, such as avx2 or avx512_bf16; empty where not known."""
    flags = _field("flags") or _field("Features")
    return tuple(sorted(flag for flag in flags.split() if _VECTOR.match(flag)))


def describe() -> str:
    """Both in one line, for records and messages."""
    return f"{model_name()}: {' '.join(vector_extensions()) or 'vector extensions not known'}"


def _field(name: str) -> str:
    """The first value of a name in /proc/cpuinfo; empty where there is none."""
    try:
        text = _CPUINFO.read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(rf"^{name}\s*: (.*)$", text, re.MULTILINE)
    return found[1].strip() if found else ""
