"""Importers of the formats of other programs."""
