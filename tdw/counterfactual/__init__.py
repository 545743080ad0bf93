"""Experiments made of many branches of one run."""
