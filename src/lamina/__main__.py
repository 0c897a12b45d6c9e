"""``python -m lamina``: the command line, where its script is not on the path."""

from lamina.cli import main

main()
