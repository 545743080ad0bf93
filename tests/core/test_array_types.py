"""Arrays of another type, rank or length than annotated are refused in tests: the checks are on."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from jaxtyping import TypeCheckError

import tdw
from tdw import tasks
from tdw.analyses import fourier
from tdw.network.losses import LOSSES
from tdw.network.optimizers import OPTIMIZERS


def test_functions_of_tasks_optimizers_losses_and_analyses(tiny):
    with pytest.raises(TypeCheckError):
        tasks.answers(np.arange(3, dtype=np.int32), tiny)
    with pytest.raises(TypeCheckError):
        fourier.basis("11")  # type: ignore[arg-type]
    with pytest.raises(TypeCheckError):
        LOSSES["stable"].mean(torch.zeros(3, 2), torch.zeros(4, dtype=torch.int64))
    flat, step = torch.zeros(3), torch.tensor(1.0)
    slots = {"exp_avg": torch.zeros(3), "exp_avg_sq": torch.zeros(3)}
    OPTIMIZERS["adamw"].update(flat, flat, slots, step, 0.1, tiny)
    with pytest.raises(TypeCheckError):
        OPTIMIZERS["adamw"].update(flat, torch.zeros(2), slots, step, 0.1, tiny)


def test_methods_of_a_run(tiny_run, monkeypatch):
    with tdw.open(tiny_run) as run:
        assert run.neuron_map(0, 1).dtype == np.float32
        read = run._store.read
        monkeypatch.setattr(run._store, "read", lambda *given: read(*given).astype(np.float32))
        with pytest.raises(TypeCheckError):
            run.train_loss  # noqa: B018
