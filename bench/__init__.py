"""Benchmarks: micro/ (parts, by pytest-benchmark) and load/ (whole brokers, side by side)."""
