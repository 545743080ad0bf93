"""What is done with runs: train, branch, recover, compare, copy."""
