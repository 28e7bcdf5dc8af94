"""What a command prints."""

import io
import sys

__all__ = ["escape_output"]


def escape_output() -> None:
    r"""Print characters that the terminal's encoding lacks, and bytes of names that are not UTF-8, as \x.. or \u....

    Otherwise a name in a message, and ASCII as the encoding, would end a command that has done its work.
    """
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):  # a test or a notebook can have another one
            stream.reconfigure(errors="backslashreplace")
