"""Detection of injected defects at equal yield loss: the autoencoder beside classical screens and
outlier detectors. Cases are data; see README.md beside the other benchmarks."""
