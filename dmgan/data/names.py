"""Names that stand in tables: of data sets and of methods."""

from dmgan.storage.files import FORMULA


def is_table_name(name: str) -> bool:
    """Return whether a name is printable, not empty, and no formula of a spreadsheet."""
    return name.isprintable() and bool(name.strip()) and not name.startswith(FORMULA)
