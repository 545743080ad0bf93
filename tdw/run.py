"""Run: a project file with what the analyses and panels know of it. What `tdw.open` gives."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from tdw import store
from tdw.analyses import events as event_analysis
from tdw.analyses.engine import registry, runner
from tdw.analyses.events import Event, Grokking
from tdw.analyses.key_frequencies import DEFAULT_RULE, by_clusters
from tdw.project import consistency
from tdw.project.project import Project
from tdw.store import FORMAT_VERSION

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


class KeyFrequencies(NamedTuple):
    """Which frequencies a network runs on at a checkpoint, and by which rule of the analysis `key_frequencies`."""

    rule: str
    frequencies: list[int]


def open(path: str | Path) -> Run:  # noqa: A001 - called as tdw.open
    """Open a run for reading. Raises NotAProject, NewerFormat or Damaged."""
    return Run.open(path)


class Run(Project):
    """A run, open for reading: settings, curves, checkpoints, results, events and figures."""

    @classmethod
    def _accept(cls, reader: store.Reader) -> None:
        super()._accept(reader)
        if (problem := cls(reader)._unfit_results()) is not None:
            raise consistency.refusal(reader.path, problem)

    def _unfit_results(self) -> str | None:
        """What stored results that count as current have of shapes or epochs that are not this run's, in words."""
        for name, stored in self.analyses().items():
            item = registry.ANALYSES.get(name)
            if item is None or runner.is_stale(item, stored):
                continue
            of = len(self.checkpoints)
            if item.per == "run" and isinstance(computed := stored.parameters.get("computed"), dict):
                of = computed.get("checkpoints", of)
            wanted = {array: (spec.dtype, spec.shape(self.config, of)) for array, spec in item.arrays.items()}
            found = {array: (plan.dtype, plan.row_shape) for array, plan in stored.arrays.items()}
            if item.per == "checkpoint":
                found.pop("epoch", None)
            if wanted != found:
                return f"its results of {name} have other shapes than its settings make"
            if item.per == "checkpoint":
                epochs = self.series(f"analysis/{name}/epoch").tolist() if "epoch" in stored.arrays else None
                if epochs != self.checkpoints[: stored.rows]:
                    return f"its results of {name} are of other epochs than its checkpoints"
        return None

    def figure(self, name: str, epoch: int | None = None, **picks: str) -> Figure:
        """A panel as a Plotly figure with the viewer's own numbers, at a checkpoint (default: the last).

        picks: choices in the panel's menus, as in `figure("restricted_loss", rule="clusters", side="train")`; "view" is
            which of several views, "compare" what stands side by side. A wrong one is refused with those there are.
        Raises UnknownName, CheckpointNotFound or AnalysisNotFound.
        """
        from tdw import panels

        return panels.figure(self, name, epoch, **picks)

    def events(self) -> list[Event]:
        """When the run memorised and generalised, as intervals. Stored ones where they are current, else from the
        curves, which takes no longer.
        """
        found = self._events()
        names = registry.find("events").parameters["events"]
        recorded = {name for name in CURVES if not np.isnan(getattr(self, name)).all()}
        return event_analysis.described(found["intervals"], found["held"], names, recorded)

    def grokking(self) -> Grokking:
        """Whether the test loss followed the train loss only after a long delay, and how many epochs lay between."""
        found = self._events()
        return event_analysis.judged(found["grokking"], found["delay"], registry.find("events").parameters["delay"])

    def _events(self) -> dict[str, NDArray[Any]]:
        item = registry.find("events")
        if runner.is_current(item, self):
            return {name: array[0] for name, array in self.analysis("events").arrays.items()}
        return registry.evaluate(item, runner.whole(self), self.config)

    @property
    def keys(self) -> KeyFrequencies | None:
        """The key frequencies at the last analysed checkpoint: by the rule `logit_cosine` where answers are sums, else by
        `clusters`; by `clusters` as well where only neuron frequencies were analysed; None where neither was.
        """
        stored = self.analyses()
        item = registry.find("key_frequencies")
        there = stored.get(item.name)
        if there is not None and there.rows and not runner.is_stale(item, there):
            rule = DEFAULT_RULE if registry.NEEDS["sum"](self.config) is None else "clusters"
            last = self.series(f"analysis/{item.name}/key", there.rows - 1, there.rows)[0]
            return KeyFrequencies(rule, _listed(last[item.parameters["rules"].index(rule)]))
        shares = stored.get("neuron_frequencies")
        if shares is None or not shares.rows:
            return None
        share = self.series("analysis/neuron_frequencies/share", shares.rows - 1, shares.rows)[0]
        return KeyFrequencies("clusters", _listed(by_clusters(share)))

    def key_frequencies(self) -> list[int] | None:
        """The frequencies of `keys`, or None."""
        return None if (keys := self.keys) is None else keys.frequencies

    def info(self) -> dict[str, Any]:
        """What `tdw info --json` prints: plain values only."""
        return {
            "path": str(self.path),
            "format": f"tdw {FORMAT_VERSION[0]}.{FORMAT_VERSION[1]}",
            "id": self.id,
            **self.notes,
            "state": self.state,
            "epochs": max(len(self.epochs) - 1, 0),
            "planned_epochs": self.planned_epochs,
            "checkpoints": self.checkpoints,
            "planned_checkpoints": len(self.planned_checkpoints),
            **{name: _last(getattr(self, name)) for name in CURVES},
            "analyses": {name: self._described(name) for name in self.analyses()},
            "events": [event._asdict() for event in self.events()],
            "key_frequencies": None if (keys := self.keys) is None else keys._asdict(),
            "grokking": self.grokking()._asdict(),
            "config": self.config.to_json(),
            "environments": self.environments,
            "drift": self.drifts(),
            "imported": self.imported,
            "branched": self.branched,
            "size_bytes": self.size_bytes,
        }

    def _described(self, name: str) -> dict[str, Any]:
        stored = self.analyses()[name]
        known = registry.ANALYSES.get(name)
        per_run = known is not None and known.per == "run"
        parameters = {key: value for key, value in stored.parameters.items() if key not in runner.BOOKKEEPING}
        return {
            "version": stored.version,
            "parameters": parameters,
            "checkpoints": self.checkpoints if per_run else self.series(f"analysis/{name}/epoch").tolist(),
            "stale": known is None or not runner.is_current(known, self),
        }


CURVES = ("train_loss", "test_loss", "train_accuracy", "test_accuracy")


def _last(values: np.ndarray[Any, np.dtype[np.float64]]) -> float | None:
    """The last recorded value of a series."""
    recorded = values[~np.isnan(values)]
    return float(recorded[-1]) if recorded.size else None


def _listed(key: NDArray[Any]) -> list[int]:
    return [int(k) for k in np.flatnonzero(key) + 1]
