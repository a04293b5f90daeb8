"""The audit: measurements of what a training step does, made on copies of it."""

AUDIT = 4
"""Version of the audit. Raise it by hand when the audit measures a rule differently than before."""
