"""Comparison of configurations: one row each, paired differences, and the terms that differ."""
