"""Project: one run, as kept in its file. Reading needs no torch and answers at once.

What a run offers on top of the bytes of `tdw.store`: settings, curves, split, checkpoints as named arrays, stored
analyses, and the closed form of any neuron. `ProjectWriter` is the only way in which a run grows.
"""

from __future__ import annotations

import json
import uuid
import zlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from tdw import blobs, closed_form, config, notes, store
from tdw.config import RunConfig
from tdw.errors import AnalysisNotFound, CheckpointNotFound, Drift, SettingError, UnknownName
from tdw.segment import Arrays, Segment, Series, State
from tdw.tasks import Split

SERIES = ("losses/train", "losses/test", "accuracy/train", "accuracy/test")


@dataclass(frozen=True)
class StoredResult:
    """The results of one analysis: arrays with a row for each of `checkpoints` (for an analysis of the whole run, the
    arrays are of the run and `checkpoints` are those that it covered).
    """

    name: str
    version: int
    parameters: dict[str, Any]
    checkpoints: list[int]
    arrays: dict[str, NDArray[Any]]


class Project:
    """A run's file, open for reading. Other processes may write to it meanwhile; `refresh` looks again."""

    def __init__(self, reader: store.Reader):
        self._store = reader

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a project file. Raises NotAProject, NewerFormat or Damaged."""
        return cls(store.open_reader(Path(path)))

    @property
    def path(self) -> Path:
        """Where the file is."""
        return self._store.path

    @property
    def config(self) -> RunConfig:
        """The run's settings."""
        return config.from_json(self._store.config["settings"])

    @property
    def id(self) -> str:
        """The run's own name, a UUID: copies of a file share it."""
        return str(self._store.config["id"])

    @property
    def notes(self) -> dict[str, Any]:
        """What someone wrote about the run: `title`, `tags` (a list) and `remark`, empty where nothing was."""
        return notes.known(self._store.notes())

    @property
    def environments(self) -> list[dict[str, Any]]:
        """Where the run was trained (versions, device, threads, platform), each from some epoch on."""
        return list(self._store.config["environments"])

    @property
    def planned_checkpoints(self) -> list[int]:
        """Epochs of all checkpoints that there are or will be."""
        return list(self._store.config["plan"])

    @property
    def planned_epochs(self) -> int:
        """The last epoch of the run."""
        return int(self._store.config["settings"]["epochs"])

    @property
    def revision(self) -> str:
        """Differs whenever anything stored differs."""
        return self._store.revision

    @property
    def size_bytes(self) -> int:
        """Size of the file."""
        return self._store.size_bytes

    @property
    def state(self) -> str:
        """`new` (nothing trained yet), `unfinished` or `finished`."""
        recorded = self._store.n_epochs
        return "new" if recorded == 0 else "finished" if recorded > self.planned_epochs else "unfinished"

    @property
    def epochs(self) -> NDArray[np.int64]:
        """The recorded epochs, 0 to the last one, to go with the four series."""
        return np.arange(self._store.n_epochs)

    @property
    def train_loss(self) -> Series:
        """Mean cross-entropy on the train pairs at each epoch, in nats."""
        return self._store.read("losses/train")

    @property
    def test_loss(self) -> Series:
        """Mean cross-entropy on the test pairs, NaN at epochs where it was not evaluated."""
        return self._store.read("losses/test")

    @property
    def train_accuracy(self) -> Series:
        """Share of the train pairs answered rightly."""
        return self._store.read("accuracy/train")

    @property
    def test_accuracy(self) -> Series:
        """Share of the test pairs answered rightly, NaN at epochs where it was not evaluated."""
        return self._store.read("accuracy/test")

    @property
    def split(self) -> Split:
        """Indices of the train and of the test pairs; pair (a, b) is a * p + b."""
        return Split(self._store.read("split/train"), self._store.read("split/test"))

    @property
    def checkpoints(self) -> list[int]:
        """Epochs of the stored checkpoints, increasing."""
        return [int(epoch) for epoch in self._store.checkpoint_epochs()]

    def weights(self, epoch: int) -> Arrays:
        """The weights at a checkpoint, float32 arrays under TransformerLens' names. Raises CheckpointNotFound."""
        stored = self.checkpoints
        if epoch not in stored:
            raise CheckpointNotFound(self.path, epoch, stored)
        return self.weights_at(stored.index(epoch))

    def weights_at(self, index: int) -> Arrays:
        """The weights of the index-th checkpoint."""
        return blobs.unpack(self._store.checkpoint(index))

    def analysis(self, name: str) -> StoredResult:
        """Stored results of an analysis. Raises AnalysisNotFound."""
        stored = self.analyses()
        if name not in stored:
            raise AnalysisNotFound(self.path, name, stored)
        item = stored[name]
        arrays = {array: self._store.read(f"analysis/{name}/{array}") for array in item.arrays}
        covered = arrays.pop("epoch", np.empty(0, np.int64))
        checkpoints = [int(epoch) for epoch in covered] if "per" not in item.parameters else self.checkpoints
        return StoredResult(name, item.version, item.parameters, checkpoints, arrays)

    def analyses(self) -> dict[str, store.StoredAnalysis]:
        """What is stored of which analysis, without reading the arrays."""
        return self._store.analyses()

    def neuron_map(self, epoch: int, neuron: int) -> NDArray[np.float32]:
        """Activation of a neuron on every pair at a checkpoint, (p, p): rows a, columns b. Exact, in closed form."""
        settings = self.config
        if not 0 <= neuron < settings.d_mlp:
            raise SettingError("neuron", f"neuron {neuron} does not exist: give 0 to {settings.d_mlp - 1}")
        return closed_form.neuron_map(self.weights(epoch), neuron)

    def neuron_tables(self, neurons: Sequence[int], start: int = 0) -> NDArray[np.float32]:
        """At every checkpoint from the start-th on, what these neurons' maps are made of: (checkpoints, neurons,
        1 + 2 * heads * p), see `tdw.closed_form.neuron_tables`.
        """
        settings = self.config
        for neuron in neurons:
            if not 0 <= neuron < settings.d_mlp:
                raise SettingError("neuron", f"neuron {neuron} does not exist: give 0 to {settings.d_mlp - 1}")
        out = np.empty(
            (max(len(self.checkpoints) - start, 0), len(neurons), 1 + 2 * settings.heads * settings.p), dtype=np.float32
        )
        for row in range(out.shape[0]):
            out[row] = closed_form.neuron_tables(self.weights_at(start + row), neurons)
        return out

    def attention_scores(self, start: int = 0) -> NDArray[np.float32]:
        """At every checkpoint from the start-th on, the scores that all neurons' maps share, (checkpoints, 2, heads, p)."""
        settings = self.config
        rows = max(len(self.checkpoints) - start, 0)
        out = np.empty((rows, 2, settings.heads, settings.p), dtype=np.float32)
        for row in range(rows):
            out[row] = closed_form.attention_scores(self.weights_at(start + row))
        return out

    def series(self, name: str, start: int = 0, stop: int | None = None) -> NDArray[Any]:
        """The committed rows of a stored array by its name in the file. Raises UnknownName."""
        known = self.array_index()
        if name not in known:
            raise UnknownName("stored array", name, known)
        return self._store.read(name, start, stop)

    def array_index(self) -> dict[str, dict[str, Any]]:
        """Every array a panel may ask for: name -> {"dtype", "shape", "version"}. The version differs when content
        that was there before differs; rows that were added leave it alone.
        """
        rows = self._store.n_epochs
        found = {name: {"dtype": "<f8", "shape": [rows], "version": self.id} for name in SERIES}
        found["checkpoints/epoch"] = {"dtype": "<i8", "shape": [self._store.n_checkpoints], "version": self.id}
        for name, item in self.analyses().items():
            for array, plan in item.arrays.items():
                found[f"analysis/{name}/{array}"] = {
                    "dtype": plan.dtype,
                    "shape": [item.rows, *plan.row_shape],
                    "version": f"{self.id}-{item.version}-{zlib.crc32(json.dumps(item.parameters, sort_keys=True).encode())}",
                }
        return found

    def refresh(self) -> bool:
        """Look again at what is stored; whether anything changed."""
        return self._store.refresh()

    def verify(self) -> list[str]:
        """Check every byte that counts; what is damaged, in sentences."""
        return self._store.verify()

    def close(self) -> None:
        """Let go of the file."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path.name}: {self.state}, {len(self.checkpoints)} checkpoints>"


class ProjectWriter(Project):
    """A run's file, open for writing: one process at a time."""

    _store: store.Writer

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open for writing. Raises OpenElsewhere where another process does, beside what `Project.open` raises."""
        return cls(store.open_writer(Path(path)))

    @classmethod
    def create(
        cls,
        path: str | Path,
        settings: RunConfig,
        plan: Sequence[int],
        split: Split,
        state: State,
        environment: Mapping[str, Any],
        *,
        overwrite: bool = False,
    ) -> Self:
        """A new file with room for everything the settings plan, holding the split and the initial state.

        Raises AlreadyExists, and CannotWrite where the folder is missing or closed or the space does not suffice; then
        nothing is left behind.
        """
        described = {
            "id": str(uuid.uuid4()),
            "created": datetime.now(UTC).isoformat(timespec="seconds"),
            "settings": settings.to_json(),
            "plan": list(plan),
            "environments": [{"from_epoch": 0, **environment}],
        }
        resume = blobs.pack_state(state)
        writer = store.create(
            Path(path),
            config=described,
            split_train=split.train,
            split_test=split.test,
            epochs=settings.epochs,
            checkpoint_capacity=len(plan),
            blob_nbytes=len(blobs.pack(state.weights, state.epoch)),
            resume_nbytes=len(resume),
            resume=resume,
            resume_epoch=state.epoch,
            overwrite=overwrite,
        )
        return cls(writer)

    def append(self, segment: Segment, *, allow_drift: bool = False) -> None:
        """Store a stretch of training; what it holds is safe when this returns.

        Epochs that were recorded before are compared, bit for bit. Raises Drift where they differ.
        """
        recorded = self._store.n_epochs
        series = dict(
            zip(
                SERIES,
                (segment.train_loss, segment.test_loss, segment.train_accuracy, segment.test_accuracy),
                strict=True,
            )
        )
        again = max(0, min(recorded - segment.epochs.start, len(segment.epochs)))
        if again and not allow_drift:
            self._compare(segment.epochs.start, {name: values[:again] for name, values in series.items()})
        state = segment.state
        checkpoint = None
        if segment.keep and state.epoch not in self.checkpoints:
            checkpoint = (state.epoch, blobs.pack(state.weights, state.epoch))
        resume = blobs.pack_state(state)
        self._store.append(
            losses={name: values[again:] for name, values in series.items()},
            checkpoint=checkpoint,
            resume=(state.epoch, resume),
        )

    def _compare(self, start: int, series: Mapping[str, Series]) -> None:
        for name, values in series.items():
            before = self._store.read(name, start, start + len(values))
            both = ~(np.isnan(before) | np.isnan(values))  # epochs off the test cadence are measured in one of the two
            differs = np.flatnonzero(both & (before != values))
            if differs.size:
                at = differs[0]
                raise Drift(
                    f"{self.path.name} does not repeat itself: {name} at epoch {start + at} was {before[at]!r} and is now "
                    f"{values[at]!r}. It was trained under {self.environments[-1]}; a run repeats bit for bit on the "
                    "same machine, software and number of threads. `--allow-drift` goes on all the same, and says so in "
                    "the file"
                )

    def resume_state(self) -> State:
        """The newest stored state."""
        epoch, blob = self._store.resume()
        return blobs.unpack_state(epoch, blob)

    def describe(self, settings: RunConfig, plan: Sequence[int], environments: Iterable[Mapping[str, Any]]) -> None:
        """Change the plan: more epochs or checkpoints, another device, another environment from here on."""
        described = self._store.config | {
            "settings": settings.to_json(),
            "plan": list(plan),
            "environments": [dict(item) for item in environments],
        }
        if described != self._store.config:
            self._store.extend(config=described, epochs=settings.epochs, checkpoint_capacity=len(plan))

    def set_notes(
        self, title: str | None = None, tags: Sequence[str] | None = None, remark: str | None = None
    ) -> None:
        """Change the notes: None leaves one as it is, empty text takes it away. Raises SettingError, CannotWrite."""
        before = self._store.notes()
        after = notes.changed(before, title, tags, remark)
        if after != before:
            self._store.set_notes(after)

    def plan_analyses(self, plans: Sequence[store.AnalysisPlan], remove: Sequence[str] = ()) -> None:
        """Make room for results; rows of the same analysis under the same version and parameters stay."""
        self._store.plan_analyses(list(plans), remove)

    def append_rows(self, rows: dict[str, dict[str, NDArray[Any]]]) -> None:
        """Store rows of results: analysis -> array -> rows. Safe when this returns."""
        self._store.append_rows(rows)
