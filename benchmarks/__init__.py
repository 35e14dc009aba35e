"""Benchmarks of latency and accuracy drift; run with ``python -m benchmarks``."""
