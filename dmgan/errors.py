"""The one exception that the command line shows as a single clear line."""


class UserError(Exception):
    """Bad input or a failed environment: names the file, what is wrong and the fix."""

    def __str__(self) -> str:
        """Return the message as one printable line, since names and values in it come from files."""
        return one_line(super().__str__())


def one_line(text: str) -> str:
    r"""Return text in which control characters, line ends and halves of surrogate pairs are escapes, such as \x1b."""
    return "".join(each if each.isprintable() else each.encode("unicode_escape").decode() for each in text)
