"""The contestants of the benchmark of speed, each run by a worker process in its own Python."""
