"""What the page draws, from which arrays. The viewer knows kinds of panel, a panel names its arrays.

The panels of the first view have a file each; those of every other view are declared together, in the view's file.

`describe(project)` is what the viewer is told; `figure(project, name, epoch)` draws the same numbers as a Plotly figure.
"""

from tdw.panels import algorithm, attention, frequencies, logits, losses, neurons, run, weights  # noqa: F401 - they register
from tdw.panels.describe import describe, figure
from tdw.panels.embedding_frequencies import embedding_frequencies
from tdw.panels.loss import loss
from tdw.panels.neuron_activations import neuron_activations
from tdw.panels.neuron_frequencies import neuron_frequencies
from tdw.panels.registry import PANELS, Panel, find

__all__ = [
    "PANELS",
    "Panel",
    "describe",
    "embedding_frequencies",
    "figure",
    "find",
    "loss",
    "neuron_activations",
    "neuron_frequencies",
]
