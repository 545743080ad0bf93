"""Exporters to the formats of other programs."""
