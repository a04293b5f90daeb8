"""The audit: what a training step does, measured on copies of it."""

AUDIT = 4
"""Raised by hand when the audit comes to measure something else of the same rule."""
