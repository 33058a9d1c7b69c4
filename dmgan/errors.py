"""The one exception that the command line shows as a single clear line."""


class UserError(Exception):
    """Bad input or a failed environment: names the file, what is wrong and the fix."""
