"""The networks and their training: parameters, reference forward pass, closed form, factored engine."""
