"""Whether the waves of a neuron's weights fit together."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from tdw.analyses.engine.checkpoint import View
from tdw.analyses.engine.registry import ArraySpec, Result, analysis


@analysis(
    title="Phase alignment",
    version=1,
    needs=("one_hot", "sum"),
    arrays={
        "misalignment": ArraySpec("<f8", (), gaps=True),
        "neuron": ArraySpec("<f4", ("neuron",), gaps=True),
    },
)
def phase_alignment(view: View) -> Result:
    """|sin(ψ − φ_a − φ_b)| of each living neuron, (neurons,), NaN for dead ones, and its mean; NaN where all are dead.

    A neuron's frequency k is the one with the largest energy in its input weights, those of a and b together. Their
    parts there are in proportion to cos(w_k a + φ_a) and cos(w_k b + φ_b), that of its output weights to
    cos(w_k c + ψ): the product of the first two holds cos(w_k(a+b) + φ_a + φ_b), which the output passes on to
    c = a + b where ψ = φ_a + φ_b. With equal input phases this is |sin(ψ − 2φ)|. 0: aligned; 2/π on average by chance.
    For differences φ_b changes its sign; for products modulo a prime everything is in the order of powers.
    A neuron without any such part, in input or output, has no phase and counts as dead.
    """
    neurons = view.config.d_mlp
    of_a, of_b, of_c = view.embedding[:, :neurons], view.embedding[:, neurons:], view.neuron_to_logit
    waves_a, waves_b, waves_c = (np.fft.rfft(part.astype(np.float64), axis=0)[1:] for part in (of_a, of_b, of_c))
    frequency = (np.abs(waves_a) ** 2 + np.abs(waves_b) ** 2).argmax(axis=0)
    at_a, at_b, at_c = (waves[frequency, np.arange(neurons)] for waves in (waves_a, waves_b, waves_c))
    if view.config.task_kind.sign == -1:
        at_b = at_b.conj()
    joint = at_c * (at_a * at_b).conj()  # its angle is ψ − φ_a − φ_b
    size = np.abs(at_a) * np.abs(at_b) * np.abs(at_c)
    living = ~view.dead & (size > 0)
    found: NDArray[np.float64] = np.full(neurons, np.nan)
    found[living] = np.abs(joint.imag[living]) / size[living]
    return {"neuron": found, "misalignment": np.float64(found[living].mean() if living.any() else np.nan)}
