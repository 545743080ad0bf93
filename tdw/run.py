"""`Run`: a project file with its analyses, events and figures. `tdw.open` returns one."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tdw import store
from tdw.analyses import summary
from tdw.analyses.engine import registry, runner
from tdw.analyses.events import Event, Grokking
from tdw.analyses.summary import CURVES, KeyFrequencies
from tdw.errors import NotApplicableError
from tdw.network.segment import Series
from tdw.project import consistency
from tdw.project.project import Project, StoredResult
from tdw.recorded import is_recorded
from tdw.store import FORMAT_VERSION

if TYPE_CHECKING:
    from plotly.graph_objects import Figure


def open(path: str | Path) -> Run:  # noqa: A001 - called as tdw.open
    """Open a run for reading. Raises NotAProjectError, NewerFormatError or DamagedFileError."""
    return Run.open(path)


class Run(Project):
    """A run, open for reading: settings, curves, checkpoints, results, events and figures."""

    @classmethod
    def _accept(cls, reader: store.Reader) -> None:
        super()._accept(reader)
        if (problem := cls(reader)._inconsistent_results()) is not None:
            raise consistency.refusal(reader.path, problem)

    def _inconsistent_results(self) -> str | None:
        """Why current results do not fit this run, as a sentence; None if all do."""
        for name, stored in self.analyses().items():
            analysis = registry.ANALYSES.get(name)
            if analysis is None or runner.is_stale(analysis, stored):
                continue
            checkpoints = len(self.checkpoints)
            if analysis.per == "run" and isinstance(computed := stored.parameters.get("computed"), dict):
                checkpoints = computed.get("checkpoints", checkpoints)
            expected = {
                array: (spec.dtype, spec.shape(self.config, checkpoints)) for array, spec in analysis.arrays.items()
            }
            actual = {array: (plan.dtype, plan.row_shape) for array, plan in stored.arrays.items()}
            if analysis.per == "checkpoint":
                actual.pop("epoch", None)
            if expected != actual:
                return f"results of {name} do not have the shapes that its settings require"
            if analysis.per == "checkpoint":
                epochs = self.series(f"analysis/{name}/epoch").tolist() if "epoch" in stored.arrays else None
                if epochs != self.checkpoints[: stored.rows]:
                    return f"results of {name} do not belong to its checkpoints"
        return None

    def analysis(self, name: str) -> StoredResult:
        """Stored results of an analysis. Raises UnknownNameError, NotApplicableError or AnalysisNotFoundError."""
        reason = runner.inapplicable_reason(registry.find(name), self)
        if reason and (name not in self.analyses() or reason == registry.UNKNOWN_TASK):
            raise NotApplicableError(self.path, name, reason)
        return super().analysis(name)

    def figure(self, name: str, epoch: int | None = None, **picks: str) -> Figure:
        """A panel as a Plotly figure with the viewer's own numbers, at a checkpoint (default: the last).

        picks: choices in the panel's menus, as in `figure("restricted_loss", rule="clusters", side="train")`; "view"
            selects one of several views, "compare" what is shown side by side.
        Raises UnknownNameError, CheckpointNotFoundError or AnalysisNotFoundError.
        """
        from tdw import panels  # training and listing runs need none

        return panels.figure(self, name, epoch, **picks)

    def save_figure(
        self,
        name: str,
        out: str | Path,
        epoch: int | None = None,
        *,
        width_mm: float = 85.0,
        height_mm: float | None = None,
        dpi: int = 600,
        font: str | None = None,
        caption: bool = False,
        overwrite: bool = False,
        **picks: str,
    ) -> str:
        """Write a panel to a PDF, SVG, PNG or CSV file for a paper, see `tdw.panels.save.save_figure`. Returns a caption."""
        from tdw.panels import save

        options: dict[str, Any] = {"width_mm": width_mm, "height_mm": height_mm, "dpi": dpi, "font": font, **picks}
        return save.save_figure(self, name, out, epoch, caption=caption, overwrite=overwrite, **options)

    def save_animation(
        self,
        name: str,
        out: str | Path,
        *,
        fps: float = 8.0,
        width_mm: float = 85.0,
        height_mm: float | None = None,
        dpi: int = 200,
        font: str | None = None,
        caption: bool = False,
        overwrite: bool = False,
        progress: Callable[[int, int], None] | None = None,
        **picks: str,
    ) -> str:
        """Write a panel at all checkpoints to a GIF or MP4 file, see `tdw.panels.animate.save_animation`. Returns a caption."""
        from tdw.panels import animate

        options: dict[str, Any] = {"width_mm": width_mm, "height_mm": height_mm, "dpi": dpi, "font": font, **picks}
        options |= {"fps": fps, "caption": caption, "overwrite": overwrite, "progress": progress}
        return animate.save_animation(self, name, out, **options)

    def events(self) -> list[Event]:
        """The events of the run (memorized, generalized, …), as intervals between recorded epochs."""
        return summary.events(self)

    def grokking(self) -> Grokking:
        """Whether the run grokked: verdict, and the delay between memorization and generalization in epochs."""
        return summary.grokking(self)

    @property
    def keys(self) -> KeyFrequencies | None:
        """The key frequencies at the last analyzed checkpoint, and their rule; see `analyses.summary`."""
        return summary.key_frequencies(self)

    def key_frequencies(self) -> list[int] | None:
        """The frequencies of `keys`, or None."""
        return None if (keys := self.keys) is None else keys.frequencies

    def info(self) -> dict[str, Any]:
        """What `tdw info --json` prints: plain values only. The last value of a curve may be infinite or NaN."""
        return {
            "path": str(self.path),
            "format": f"tdw {FORMAT_VERSION[0]}.{FORMAT_VERSION[1]}",
            "id": self.id,
            **self.notes.to_json(),
            "state": self.state,
            "epochs": max(len(self.epochs) - 1, 0),
            "planned_epochs": self.planned_epochs,
            "checkpoints": self.checkpoints,
            "planned_checkpoints": len(self.planned_checkpoints),
            **{name: _last(getattr(self, name)) for name in CURVES},
            "analyses": {name: self._result_info(name) for name in self.analyses()},
            "events": [event._asdict() for event in self.events()],
            "key_frequencies": None if (keys := self.keys) is None else keys._asdict(),
            "grokking": self.grokking()._asdict(),
            "config": self.config.to_json(),
            "environments": [item.to_json() for item in self.environments],
            "drift": self.drifts(),
            "diverged": None if (diverged := self.diverged) is None else diverged.to_json(),
            "imported": None if self.imported is None else self.imported.to_json(),
            "edits": [
                {"epoch": epoch, "edit": sentence}
                for epoch, sentence in (self.branched.edited if self.branched else [])
            ],
            "branched": None if self.branched is None else self.branched.to_json(),
            "size_bytes": self.size_bytes,
        }

    def _result_info(self, name: str) -> dict[str, Any]:
        stored = self.analyses()[name]
        analysis = registry.ANALYSES.get(name)
        # As stored: another version of the analysis may have had a row for each checkpoint.
        per_run = "per" in stored.parameters
        parameters = {key: value for key, value in stored.parameters.items() if key not in runner.BOOKKEEPING}
        return {
            "version": stored.version,
            "parameters": parameters,
            "checkpoints": self.checkpoints if per_run else self.series(f"analysis/{name}/epoch").tolist(),
            "stale": analysis is None or not runner.is_current(analysis, self),
        }


def _last(values: Series) -> float | None:
    """The last recorded value of a series."""
    recorded = values[is_recorded(values)]
    return float(recorded[-1]) if recorded.size else None
