"""What runs the measures: their registry, what they see of a checkpoint, and the pass over a run."""
