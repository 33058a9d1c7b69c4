"""The files of the report page: HTML, PDF, and every table as an HTML file of its own."""

from dmgan.report.page.build import ReportInputs, build_page
from dmgan.report.page.content import Page, Table
from dmgan.report.page.html import table_to_html, to_html
from dmgan.report.page.pdf import to_pdf
from dmgan.storage import files


def write_report(inputs: ReportInputs) -> Page:
    """Write report.html, report.pdf and {table}.html into inputs.out; return the page."""
    page = build_page(inputs)
    files.write_text(inputs.out / "report.html", to_html(page))
    files.write_with(inputs.out / "report.pdf", lambda file: file.write(to_pdf(page)))
    for table in (block for section in page.sections for block in section.blocks if isinstance(block, Table)):
        files.write_text(inputs.out / f"{table.name}.html", table_to_html(page, table))
    return page
