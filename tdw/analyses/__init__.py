"""The measures. One short file each; importing it here is what makes it known."""

from tdw.analyses import embedding_frequencies, events, neuron_clusters, neuron_frequencies, neuron_summary
from tdw.analyses.registry import ANALYSES, Analysis, find

__all__ = [
    "ANALYSES",
    "Analysis",
    "embedding_frequencies",
    "events",
    "find",
    "neuron_clusters",
    "neuron_frequencies",
    "neuron_summary",
]
