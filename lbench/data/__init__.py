"""Datasets: sources of raw files, the cache of decoded data, splits and batches."""
