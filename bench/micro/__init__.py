"""Micro benchmarks of single calls (`make bench`): compare runs of one machine, not machines."""
