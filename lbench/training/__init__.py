"""One run: spec and fingerprint, trainer, checkpoints, clocks."""
