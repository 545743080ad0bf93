"""The window: a local server, access control, the Gradio shell around the viewer, and background jobs."""
