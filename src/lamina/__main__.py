"""``lamina`` and ``python -m lamina``: the command line, or the line that says what it needs."""

import sys

from lamina.errors import MissingExtraError
from lamina.extras import require


def main() -> None:
    """Run the command line if its packages are here; otherwise leave with 2 and say how to."""
    try:
        require("cli", "the command line")
    except MissingExtraError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    from lamina import cli

    cli.main()


if __name__ == "__main__":
    main()
