"""Probes that work with any rule."""
