"""What every op stands on: the kernels, the dispatcher, memory, checks of input."""
