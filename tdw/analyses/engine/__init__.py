"""The engine of the analyses: their registry, the data they see (`Checkpoint`, `RunData`), and the runner."""
