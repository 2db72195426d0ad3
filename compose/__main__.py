"""``python -m compose`` is the ``cytobus`` command.

Worker processes import this module again, as that of the program they belong to: it imports nothing by itself.
"""


def main() -> None:
    """The command."""
    from compose.cli import app

    app()


if __name__ == "__main__":
    main()
