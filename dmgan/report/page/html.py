"""The report page as one HTML file: style, figures and sources are inside it, and it loads nothing."""

import base64
from functools import cache
from pathlib import Path

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from dmgan.report.page.content import Figure, Page, Section, Table
from dmgan.report.page.sources import protocols

_TEMPLATES = Path(__file__).with_name("templates")


def to_html(page: Page) -> str:
    """Return the page as HTML."""
    return _template("report.html.j2").render(page=page, css=_css())


def table_to_html(page: Page, table: Table) -> str:
    """Return one table of a page as an HTML file of its own, with the sources of its numbers."""
    shown = {cell.source for row in table.rows for cell in row.cells}
    alone = Page(
        f"{table.title}: {page.title}", "", (Section(table.name, table.title, (table,)),),
        tuple(source for source in page.sources if source.anchor in shown), warnings=page.warnings,
    )  # fmt: skip
    return to_html(alone)


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=FileSystemLoader(_TEMPLATES), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
        lstrip_blocks=True,
    )  # fmt: skip
    environment.filters["data_uri"] = _data_uri
    environment.filters["exact"] = repr
    environment.globals["protocols"] = protocols
    return environment


def _template(name: str):
    return _environment().get_template(name)


def _css() -> str:
    return (_TEMPLATES / "report.css").read_text(encoding="utf-8")


def _data_uri(figure: Figure) -> str:
    return f"data:image/{figure.image_type};base64,{base64.b64encode(figure.image).decode('ascii')}"
