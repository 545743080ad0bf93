"""The networks and their training: parameters, reference forward, closed form, factored engine."""
