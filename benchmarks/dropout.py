"""Time dropout against PyTorch, on an idle machine."""

from lamina.cli import main

main(["bench", "layers", "--kind", "dropout"])
