"""The processor's model and vector extensions: they decide the last bits of what neural networks compute.

Source: /proc/cpuinfo of Linux. On other systems the model is what Python reports, and extensions are not known.
"""

import platform
import re
from pathlib import Path

__all__ = ["describe_processor", "processor_model", "vector_extensions"]

_CPUINFO = Path("/proc/cpuinfo")
_VECTOR = re.compile(r"(avx|fma|amx|sse4|sve|asimd)")


def processor_model() -> str:
    """Model of the processor as the kernel names it, else its architecture."""
    return _field("model name") or platform.processor() or platform.machine()


def vector_extensions() -> tuple[str, ...]:
    """Vector instruction sets in the kernel's names, sorted, such as avx2 or avx512_bf16; empty where not known."""
    # x86 calls them flags, ARM Features
    flags = _field("flags") or _field("Features")
    return tuple(sorted(flag for flag in flags.split() if _VECTOR.match(flag)))


def describe_processor() -> str:
    """Model and vector extensions in one line, for records and messages."""
    return f"{processor_model()}: {' '.join(vector_extensions()) or 'vector extensions not known'}"


def _field(name: str) -> str:
    """The first processor's value of a field in /proc/cpuinfo; empty where there is none."""
    try:
        text = _CPUINFO.read_text(encoding="utf-8")
    except OSError:
        return ""
    found = re.search(rf"^{name}\s*: (.*)$", text, re.MULTILINE)
    return found[1].strip() if found else ""
