"""Peers and probes that run under mpirun, started as modules by `benchmarks.launch`."""
