"""Time pool2d against PyTorch, on an idle machine."""

from lamina.cli import main

main(["bench", "layers", "--kind", "pool2d"])
