"""The window: a local server, its guard, the Gradio shell around the viewer, and the jobs it starts."""
