"""Names that stand in tables: of data sets and of methods."""

_FORMULA = ("=", "+", "-", "@")  # a spreadsheet executes a cell that begins with one of them


def is_table_name(name: str) -> bool:
    """Return whether a name is printable, not empty, and no formula of a spreadsheet."""
    return name.isprintable() and bool(name.strip()) and not name.startswith(_FORMULA)


def without_formula(text: str) -> str:
    """Return the text of a CSV cell, with an apostrophe in front if a spreadsheet would execute it."""
    if not text.startswith((*_FORMULA, "\t", "\r")):
        return text
    try:
        float(text)
    except ValueError:
        return f"'{text}"
    return text
