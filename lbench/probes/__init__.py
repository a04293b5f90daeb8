"""Probes that look at any rule."""
