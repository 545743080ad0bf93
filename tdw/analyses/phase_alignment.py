"""Phase alignment of the input and output weights of each neuron of a one-hot MLP."""

from __future__ import annotations

import numpy as np

from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.registry import ArraySpec, Result, analysis


@analysis(
    title="Phase alignment",
    version=1,
    needs=("one_hot", "sum"),
    reads=("activations",),
    arrays={
        "misalignment": ArraySpec("<f8", (), gaps=True),
        "neuron": ArraySpec("<f4", ("neuron",), gaps=True),
    },
)
def phase_alignment(checkpoint: Checkpoint) -> Result:
    """Misalignment |sin(ψ − φ_a − φ_b)| of each neuron, (d_mlp,), NaN for dead neurons, and its mean; NaN if all are dead.
    0 is aligned, 2/π the mean by chance.

    A neuron's frequency k is the one with the largest energy in its input weights, of a and b together. At k these are
    proportional to cos(w_k a + φ_a) and cos(w_k b + φ_b), and the output weights to cos(w_k c + ψ). The product of the
    first two contains cos(w_k(a+b) + φ_a + φ_b), which contributes to c = a + b if ψ = φ_a + φ_b. With equal input phases
    the misalignment is |sin(ψ − 2φ)|. For subtraction φ_b changes its sign; for multiplication modulo a prime everything
    is in group order. A neuron with a zero component at k, in input or output, counts as dead.
    """
    neurons = checkpoint.config.d_mlp
    of_a, of_b, of_c = checkpoint.embedding[:, :neurons], checkpoint.embedding[:, neurons:], checkpoint.neuron_to_logit
    waves_a, waves_b, waves_c = (np.fft.rfft(part.astype(np.float64), axis=0)[1:] for part in (of_a, of_b, of_c))
    frequency = (np.abs(waves_a) ** 2 + np.abs(waves_b) ** 2).argmax(axis=0)
    at_a, at_b, at_c = (waves[frequency, np.arange(neurons)] for waves in (waves_a, waves_b, waves_c))
    if checkpoint.config.task_kind.sign == -1:
        at_b = at_b.conj()
    joint = at_c * (at_a * at_b).conj()  # its angle is ψ − φ_a − φ_b
    size = np.abs(at_a) * np.abs(at_b) * np.abs(at_c)
    living = ~checkpoint.dead & (size > 0)
    misalignment = np.full(neurons, np.nan)
    misalignment[living] = np.abs(joint.imag[living]) / size[living]
    return {"neuron": misalignment, "misalignment": np.float64(misalignment[living].mean() if living.any() else np.nan)}
