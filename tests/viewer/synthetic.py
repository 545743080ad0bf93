"""A run made up without training: weights that go from noise to cosines, everything else truly computed from them.

`Made` offers what `tdw.panels.describe` and the app's routes use of a project, and can grow while a page looks at it.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np

from tdw import config
from tdw.analyses import ANALYSES
from tdw.analyses.engine import runner
from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.engine.registry import evaluate
from tdw.analyses.events import Event, Grokking
from tdw.network import closed_form
from tdw.network.kinds import network_of
from tdw.project.records import ImportedFrom, Notes
from tdw.store import ArrayPlan
from tdw.tasks import Split

KEYS = (2, 5, 3)  # frequencies that the made-up run learns


def made_weights(settings: config.RunConfig, grown: float, seed: int = 0) -> dict[str, np.ndarray]:
    """Weights under TransformerLens' names: noise at grown = 0, cosines of `KEYS` at 1. Neuron 1 is always dead."""
    rng = np.random.default_rng(seed)
    p, d, heads, width = settings.p, settings.d_model, settings.heads, settings.d_mlp
    d_head = d // heads
    noise = 1 - 0.97 * grown
    embed = rng.normal(size=(p + 1, d)) * 0.25 * noise
    into = rng.normal(size=(d, width)) * 0.25 * noise
    x = np.arange(p)
    keys = [k for k in KEYS if k <= p // 2]
    for i, k in enumerate(keys):
        late = np.clip(3 * grown - i * 0.7, 0, 1)
        embed[:p, 2 * i] += late * np.cos(2 * np.pi * k * x / p)
        embed[:p, 2 * i + 1] += late * np.sin(2 * np.pi * k * x / p)
        for n in range(i, width, len(keys)):
            phase = rng.uniform(0, 2 * np.pi)
            into[2 * i, n] += late * np.cos(phase)
            into[2 * i + 1, n] += late * np.sin(phase)
    into[:, 1] = 0
    value = np.zeros((heads, d, d_head))
    output = np.zeros((heads, d_head, d))
    for h in range(heads):  # each head carries its own slice of the residual stream
        rows = np.arange(h * d_head, (h + 1) * d_head)
        value[h, rows, np.arange(d_head)] = 1.5
        output[h, np.arange(d_head), rows] = 1.5
    weights = {
        "embed.W_E": embed,
        "pos_embed.W_pos": rng.normal(size=(3, d)) * 0.1,
        "blocks.0.attn.W_Q": rng.normal(size=(heads, d, d_head)) * 0.4,
        "blocks.0.attn.W_K": rng.normal(size=(heads, d, d_head)) * 0.4,
        "blocks.0.attn.W_V": value + rng.normal(size=value.shape) * 0.1,
        "blocks.0.attn.W_O": output + rng.normal(size=output.shape) * 0.1,
        "blocks.0.mlp.W_in": into,
        "blocks.0.mlp.W_out": into.T,
        "unembed.W_U": embed[:p].T,
    }
    return {name: array.astype(np.float32) for name, array in weights.items()}


def brute_force(weights: dict[str, np.ndarray], neuron: int) -> np.ndarray:
    """The neuron's activation on every pair, (p, p) float64, by the transformer as anyone would write it, pair by pair."""
    w = {name: array.astype(np.float64) for name, array in weights.items()}
    p = w["embed.W_E"].shape[0] - 1
    out = np.empty((p, p))
    for a in range(p):
        for b in range(p):
            residual = w["embed.W_E"][[a, b, p]] + w["pos_embed.W_pos"]
            last = residual[2].copy()
            for q, k, v, o in zip(*(w[f"blocks.0.attn.W_{name}"] for name in "QKVO"), strict=True):
                scores = (residual @ k) @ (residual[2] @ q) / np.sqrt(q.shape[1])
                pattern = np.exp(scores - scores.max())
                last += (pattern / pattern.sum()) @ (residual @ v) @ o
            out[a, b] = max(0.0, last @ w["blocks.0.mlp.W_in"][:, neuron])
    return out


@dataclass
class Stored:
    """What a project says of a stored analysis."""

    name: str
    version: int
    parameters: dict[str, Any]
    rows: int
    arrays: dict[str, ArrayPlan]


OVERVIEW = ("embedding_frequencies", "neuron_frequencies", "neuron_clusters", "neuron_summary")


@cache
def made_once(settings: config.RunConfig, checkpoints: int, everything: bool) -> tuple[Any, Any]:
    """Weights and results of a made-up run, for all tests that ask for the same one."""
    made = Made.__new__(Made)
    made.config, made.path = settings, Path("/runs/made up.tdw")
    made.planned_epochs, made.kept, made.imported = settings.epochs, checkpoints, None
    made.recorded = settings.epochs + 1
    made._epochs = [100 * i for i in range(checkpoints)]
    grown = np.linspace(0, 1, checkpoints)
    if settings.network == "transformer":
        made.weights = [made_weights(settings, float(g)) for g in grown]
    else:
        from tdw.network.reference import initial_weights

        first = {name: w.numpy() for name, w in initial_weights(settings).items()}
        made.weights = [{name: w * np.float32(1 + 0.5 * g) for name, w in first.items()} for g in grown]
    made._losses = made._curves()
    made._arrays = {}
    made.covered = {}
    made._analyze([item for item in runner.ordered() if item.name in OVERVIEW or (everything and not item.on_request)])
    return made.weights, made._arrays


class Made:
    """A made-up run. `recorded`, `kept` and `covered` say how much of it has happened yet, and may be changed.

    everything: all analyses that make sense of it are there, not only those of the first view
    """

    def __init__(
        self,
        *,
        p: int = 11,
        heads: int = 4,
        d_model: int = 16,
        d_mlp: int = 24,
        checkpoints: int = 12,
        everything: bool = False,
        **settings: Any,
    ):
        self.path = Path("/runs/made up.tdw")
        self.planned_epochs = 100 * (checkpoints - 1)
        sizes = {"p": p, "heads": heads, "d_model": d_model, "d_mlp": d_mlp, "epochs": self.planned_epochs}
        self.config = config.configure(**sizes, **settings)
        self.id = "made-up"
        self.notes = Notes()
        self._epochs = [100 * i for i in range(checkpoints)]
        weights, arrays = made_once(self.config, checkpoints, everything)
        self.weights = [{name: array.copy() for name, array in found.items()} for found in weights]
        self._losses = self._curves()
        self._arrays = {name: array.copy() for name, array in arrays.items()}
        self.recorded = self.planned_epochs + 1
        self.kept = checkpoints
        self.imported: ImportedFrom | None = None
        self.covered = {
            name: 1 if ANALYSES[name].per == "run" else checkpoints
            for name in dict.fromkeys(name.split("/")[1] for name in self._arrays)
        }
        self.old_version: set[str] = set()
        self.revisions = 0
        self.reached = True

    def _curves(self) -> dict[str, np.ndarray]:
        epochs = np.arange(self.planned_epochs + 1)
        part = epochs / self.planned_epochs
        train = 4 * np.exp(-18 * part) + 1e-6
        test = 4 * np.exp(-3 * np.maximum(part - 0.35, 0) * 8) + 2e-6
        train[self.planned_epochs // 3 + 7] = 2.5  # a spike of one epoch: thinning must keep it
        skipped = epochs % 10 != 0
        test[skipped] = np.nan
        accuracy = np.where(skipped, np.nan, np.clip(part * 1.4, 0, 1))
        return {
            "losses/train": train,
            "losses/test": test,
            "accuracy/train": np.clip(part * 6, 0, 1),
            "accuracy/test": accuracy,
        }

    def _analyze(self, wanted: list[Any]) -> None:
        """Compute these analyses as the runner does, each pass over the checkpoints after the one it reads from."""
        wanted = [item for item in wanted if runner.inapplicable_reason(item, self) is None]  # type: ignore[arg-type]
        for final_keys in (False, True):
            due = [item for item in wanted if item.per == "checkpoint" and item.final_keys == final_keys]
            keys = self._arrays["analysis/key_frequencies/key"][-1] if due and final_keys else None
            parts: dict[str, list[np.ndarray]] = {}
            for epoch, weights in zip(self._epochs, self.weights, strict=True):
                view = Checkpoint(self.config, weights, self.known_split, keys)
                for item in due:
                    for array, values in evaluate(item, view, self.config).items():
                        parts.setdefault(f"analysis/{item.name}/{array}", []).append(values)
                    parts.setdefault(f"analysis/{item.name}/epoch", []).append(np.asarray(epoch, "<i8"))
            self._arrays |= {name: np.stack(rows) for name, rows in parts.items()}
            self.covered |= {item.name: self.kept for item in due}
        for item in wanted:
            if item.per == "run":
                found = evaluate(item, runner.run_data(self), self.config)  # type: ignore[arg-type]
                self._arrays |= {f"analysis/{item.name}/{array}": values[None] for array, values in found.items()}
                self.covered[item.name] = 1

    def weights_at(self, index: int) -> dict[str, np.ndarray]:
        return self.weights[index]

    @property
    def split(self) -> Split:
        pairs = np.random.default_rng(0).permutation(self.config.p**2)
        return Split(pairs[: self.config.train_pairs], pairs[self.config.train_pairs :])

    @property
    def known_split(self) -> Split | None:
        return self.split if self.imported is None else None

    knows_task = True

    # ---- what a project offers ---------------------------------------------------------------------------------

    @property
    def state(self) -> str:
        return "new" if not self.recorded else "finished" if self.recorded > self.planned_epochs else "unfinished"

    @property
    def revision(self) -> str:
        return f"{self.revisions}-{self.recorded}-{self.kept}-{sorted(self.covered.items())}-{sorted(self.old_version)}"

    @property
    def checkpoints(self) -> list[int]:
        return self._epochs[: self.kept]

    def analyses(self) -> dict[str, Stored]:
        return {name: self._stored(name, rows) for name, rows in self.covered.items()}

    def _stored(self, name: str, rows: int) -> Stored:
        now = ANALYSES[name]
        parameters = dict(now.parameters)
        if now.per == "run":
            parameters |= {"per": "run", "computed": runner._stamp(now, len(self.epochs), len(self.checkpoints))}
        prefix = f"analysis/{name}/"
        arrays = {
            key.removeprefix(prefix): ArrayPlan(array.dtype.str, array.shape[1:])
            for key, array in self._arrays.items()
            if key.startswith(prefix)
        }
        return Stored(name, 0 if name in self.old_version else now.version, parameters, rows, arrays)

    def analysis(self, name: str) -> SimpleNamespace:
        rows = self.covered[name]
        prefix = f"analysis/{name}/"
        arrays = {key[len(prefix) :]: array[:rows] for key, array in self._arrays.items() if key.startswith(prefix)}
        epochs = self.checkpoints if ANALYSES[name].per == "run" else arrays.pop("epoch")
        return SimpleNamespace(checkpoints=[int(e) for e in epochs], arrays=arrays)

    def series(self, name: str, start: int = 0, stop: int | None = None) -> np.ndarray:
        if name in self._losses:
            return self._losses[name][: self.recorded][start:stop]
        return self._arrays[name][: self.covered[name.split("/")[1]]][start:stop]

    def array_index(self) -> dict[str, dict[str, Any]]:
        names = [*self._losses, *(name for name in self._arrays if name.split("/")[1] in self.covered)]
        return {
            name: {"dtype": self.series(name).dtype.str, "shape": list(self.series(name).shape), "version": "1"}
            for name in names
        }

    def neuron_tables(self, neurons: list[int], start: int = 0) -> np.ndarray:
        return np.stack(
            [
                closed_form.neuron_tables(weights, neurons, self.config.attention_rate)
                for weights in self.weights[start : self.kept]
            ]
        )

    def attention_scores(self, start: int = 0) -> np.ndarray:
        return np.stack([closed_form.attention_scores(weights) for weights in self.weights[start : self.kept]])

    def neuron_map(self, epoch: int, neuron: int) -> np.ndarray:
        return network_of(self.weights[self._epochs.index(epoch)]).computation.neuron_map(
            self.weights[self._epochs.index(epoch)], neuron, self.config.nonlinearity
        )

    @property
    def curves(self) -> tuple[str, ...]:
        return tuple(self._losses)

    @property
    def epochs(self) -> np.ndarray:
        return np.arange(self.recorded)

    @property
    def train_loss(self) -> np.ndarray:
        return self.series("losses/train")

    @property
    def test_loss(self) -> np.ndarray:
        return self.series("losses/test")

    @property
    def train_accuracy(self) -> np.ndarray:
        return self.series("accuracy/train")

    @property
    def test_accuracy(self) -> np.ndarray:
        return self.series("accuracy/test")

    def events(self) -> list[Event]:
        if not self.reached:
            return []
        e = self.planned_epochs
        spike = (e // 3 + 7, e // 3 + 8)
        return [
            Event("memorized_0.1", "train loss below 0.1", (e // 5 - 1, e // 5), spike, True, True),
            Event("generalized_0.1", "test loss below 0.1", (e // 2 - 10, e // 2), (e // 2 - 10, e // 2), True, True),
            Event("rebound", "test loss above 0.1 again", None, None, False, True),
            Event("generalized_accuracy", "test accuracy at least 0.99", None, None, False, False),
        ]

    def grokking(self) -> Grokking:
        return (
            Grokking("no", (300, 309), 500, (1.36, 1.41), 1.0)
            if self.reached
            else Grokking("unknown", None, 500, None, 1.0)
        )

    def key_frequencies(self) -> dict[str, Any] | None:
        if not self.reached or not self.checkpoints:
            return None
        return {"rule": "clusters", "frequencies": sorted(KEYS), "epoch": self.checkpoints[-1], "is_stale": False}
