"""One file an experiment; each has `run(scale, seed) -> Run`."""
