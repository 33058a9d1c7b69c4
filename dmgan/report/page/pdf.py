"""The report page as PDF, by Typst: the template reads the content as JSON, and the figures as files beside it."""

import dataclasses
import json
import tempfile
from pathlib import Path

import typst

from dmgan.report.page.content import Figure, Page
from dmgan.report.page.sources import protocols

_TEMPLATE = Path(__file__).with_name("templates") / "report.typ"


def to_pdf(page: Page) -> bytes:
    """Return the page as PDF; the same content gives the same bytes."""
    with tempfile.TemporaryDirectory(prefix="dmgan-report-") as temporary:
        folder = Path(temporary)
        blocks = [block for section in page.sections for block in section.blocks]
        for figure in (block for block in blocks if isinstance(block, Figure)):
            (folder / _file(figure)).write_bytes(figure.image)
        (folder / "page.json").write_text(json.dumps(_content(page), ensure_ascii=False), encoding="utf-8")
        (folder / "report.typ").write_bytes(_TEMPLATE.read_bytes())
        return typst.compile(folder / "report.typ", root=folder, ignore_system_fonts=True, timestamp=0)


def _file(figure: Figure) -> str:
    return f"{figure.name}.{figure.image_type}"


def _content(page: Page) -> dict[str, object]:
    """Return the page as JSON of plain types: blocks with their kind, sources with the number of their protocol."""
    numbers = protocols(page.sources)
    sections = [
        {"name": section.name, "title": section.title, "blocks": [_block(block) for block in section.blocks]}
        for section in page.sections
    ]
    sources = [dataclasses.asdict(each) | {"protocol": numbers[each.protocol]} for each in page.sources]
    return {
        "title": page.title,
        "summary": page.summary,
        "warnings": page.warnings,
        "sections": sections,
        "sources": sources,
        "protocols": [dict(protocol) for protocol in numbers],
    }


def _block(block) -> dict[str, object]:
    if isinstance(block, Figure):
        return {"kind": block.kind, "file": _file(block)} | {
            name: getattr(block, name) for name in ("name", "title", "caption", "alt")
        }
    own = {"kind": block.kind} | dataclasses.asdict(block)
    return own | {"groups": block.groups, "name": block.name} if block.kind == "table" else own
