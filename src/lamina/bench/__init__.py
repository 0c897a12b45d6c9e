"""Claims of the theory, tried: experiments and benchmarks."""
