"""The panels, one module a view. Every module here is imported; its panels register themselves."""
