"""Datasets: where they lie, how they are decoded once, and how batches come from them."""
