"""Probes that look at leaders and followers."""
