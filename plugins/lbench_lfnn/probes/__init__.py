"""Probes of leaders and followers."""
