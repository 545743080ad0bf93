"""A project file as a run: what its bytes mean, on top of the store."""
