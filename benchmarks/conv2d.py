"""Time conv2d against PyTorch, on an idle machine."""

from lamina.cli import main

main(["bench", "layers", "--kind", "conv2d"])
