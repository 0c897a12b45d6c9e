"""The experiments, one file each: claim, theory, rule, measurement."""
