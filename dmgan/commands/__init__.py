"""Subcommands of the command line, one module per subcommand.

A module has add_flags(parser) and run(arguments), and imports torch and other large packages only inside `run`. To add
a subcommand, add a module here and a line with a summary in dmgan/__main__.py.
"""
