"""Time batch_norm2d against PyTorch, on an idle machine."""

from lamina.cli import main

main(["bench", "layers", "--kind", "batch_norm2d"])
