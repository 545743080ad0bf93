"""The command `tdw`."""
