"""Readers of the formats of other programs."""
