"""Audits as tables, texts and pictures."""
