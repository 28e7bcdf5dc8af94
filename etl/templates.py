"""Pages from Jinja templates, which lie beside the module that fills them."""

import base64
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

__all__ = ["png_data_uri", "render_page"]


def render_page(package: str, template: str, **values: Any) -> str:
    """Return the text of the page that `template`, a file in the folder of `package`, gives with `values`.

    Text in `values` is escaped, so that a name from a file can never become markup; not so in Markdown (`.md.j2`).

    Raises:
        jinja2.UndefinedError: the template uses a value that is not among `values`.
    """
    environment = Environment(
        loader=PackageLoader(package, "."),
        autoescape=lambda name: not (name or "").endswith(".md.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(template).render(values)


def png_data_uri(png: bytes) -> str:
    """Return the `src` of an image that stands in the page itself, from the bytes of a PNG file."""
    return f"data:image/png;base64,{base64.b64encode(png).decode('ascii')}"
