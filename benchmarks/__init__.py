"""Benchmarks: commands, not tests. Machines are shared and noisy: read the ratios within one run."""
