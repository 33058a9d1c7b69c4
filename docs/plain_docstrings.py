"""Show docstrings as they are written: an extension of griffe, which reads the sources for the site (mkdocs.yml)."""

import re

import griffe

_CODE = re.compile(r"(`[^`]*`)")


class PlainDocstrings(griffe.Extension):
    """Escape what Markdown would take for HTML or emphasis, such as `<q, k>` and `B * N`, outside backticks."""

    def on_object(self, *, obj: griffe.Object, **_: object) -> None:
        if obj.docstring is not None:
            parts = _CODE.split(obj.docstring.value)
            obj.docstring.value = "".join(part if part.startswith("`") else escaped(part) for part in parts)


def escaped(text: str) -> str:
    """Return Markdown that shows `text`."""
    return re.sub(r"([*_])", r"\\\1", text.replace("&", "&amp;").replace("<", "&lt;"))
