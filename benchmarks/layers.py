"""Time every kind of layer; takes the options of `lamina bench layers`."""

import sys

from lamina.cli import main

main(["bench", "layers", *sys.argv[1:]])
