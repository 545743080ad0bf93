"""Project: one run in its file, for reading. Needs no torch.

Adds the meaning to the bytes of `tdw.store`: settings, curves, split, checkpoints as named arrays, stored analyses, and the
closed form of any neuron. `ProjectWriter` writes.
"""

from __future__ import annotations

import itertools
import json
import logging
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
from jaxtyping import Bool, Float32, Int64, Num, Shaped, UInt32

from tdw import arguments, store
from tdw.config import RunConfig
from tdw.errors import (
    AnalysisNotFoundError,
    CheckpointNotFoundError,
    DamagedFileError,
    ProjectError,
    SettingError,
    UnknownNameError,
)
from tdw.network import closed_form
from tdw.network.parameters import mismatch, shapes
from tdw.network.segment import Arrays, Segment, Series, State
from tdw.project import consistency, notes, serialization, waiting_notes
from tdw.project.records import (
    BranchedFrom,
    Description,
    Diverged,
    Drift,
    Environment,
    ImportedFrom,
    NewerRecordError,
    Notes,
    RecordError,
    RecoveredFrom,
)
from tdw.project.series import SERIES, drift_between, series_of
from tdw.recorded import is_recorded
from tdw.safe_text import cut
from tdw.tasks import Split

log = logging.getLogger("tdw.store")  # whose notes commands print


@dataclass(frozen=True)
class StoredResult:
    """The results of one analysis: arrays with a row for each of `checkpoints` (for an analysis of the whole run, the
    arrays are of the run and `checkpoints` are those that it covered).
    """

    name: str
    version: int
    parameters: dict[str, Any]
    checkpoints: list[int]
    arrays: dict[str, Shaped[np.ndarray, ...]]


class Project:
    """A run's file, open for reading. Another process may write to it meanwhile; see `refresh`."""

    def __init__(self, reader: store.Reader):
        self._store = reader

    @classmethod
    def open(cls, path: str | Path) -> Self:
        """Open a project file. Raises NotAProjectError, NewerFormatError or DamagedFileError."""
        reader = store.open_reader(arguments.path("path", path))
        try:
            cls._accept(reader)
            reader.accept = cls._accept  # also for a file that replaces it later
            return cls(reader)
        except BaseException:
            reader.close()
            raise

    @classmethod
    def _accept(cls, reader: store.Reader) -> None:
        """Refuse a file from elsewhere whose parts contradict each other. Raises NotAProjectError, DamagedFileError."""
        if not reader.made_here:
            consistency.check(reader)

    @property
    def path(self) -> Path:
        """The path of the file."""
        return self._store.path

    @property
    def description(self) -> Description:
        """What the file says of the run, checked once for each version of the stored JSON. Raises DamagedFileError."""
        return self._store.derived("description", self._read_description)

    def _read_description(self) -> Description:
        try:
            found = Description.of(self._store.config)
            if found.newer:
                log.info(
                    "%s was made by a newer version of tdw: it can be read, but not changed here. What depends on %s is not "
                    "understood; update tdw",
                    self.path,
                    ", ".join(cut(name, 40) for name in found.newer[:5]),
                )
            return found
        except NewerRecordError as error:
            raise error.told(self.path) from error
        except RecordError as error:
            raise DamagedFileError(f"{self.path} was not written by this program: {error}") from error

    @property
    def config(self) -> RunConfig:
        """The run's settings."""
        return self.description.settings

    @property
    def curves(self) -> tuple[str, ...]:
        """Names of all curves in the file."""
        return self._store.curves

    def curve(self, name: str, start: int = 0, stop: int | None = None) -> Num[np.ndarray, " epoch"]:
        """The recorded values of a curve, one per epoch, or those of epochs [start, stop). Raises UnknownNameError."""
        if name not in self.curves:
            raise UnknownNameError("curve", name, self.curves)
        return self._store.read(name, start, stop)

    def recorded(self, name: str) -> Bool[np.ndarray, " epoch"]:
        """At which epochs a curve has a recorded value: a number, an infinity, or NaN where what was measured was not a number.
        At the others it was not evaluated, and the curve is NaN as well. Raises UnknownNameError.
        """
        return is_recorded(self.curve(name))

    @property
    def id(self) -> str:
        """The run's UUID, which copies of the file share."""
        return self.description.id

    @property
    def notes(self) -> Notes:
        """The user's notes: `title`, `tags` and `remark`, empty by default; also those that wait for the file's writer."""
        return notes.known(self.raw_notes())

    def raw_notes(self) -> dict[str, Any]:
        """All notes as JSON, including keys that this version does not know."""
        stored, waiting = self._store.notes(), waiting_notes.of(self.path)
        return notes.changed(stored, **waiting) if waiting else stored

    @property
    def environments(self) -> list[Environment]:
        """The environments in which the run was trained (versions, device, threads, platform), each from `from_epoch` on; with
        `drift` where training continued although it did not reproduce recorded epochs.
        """
        return list(self.description.environments)

    @property
    def recovered(self) -> RecoveredFrom | None:
        """For a run recovered from a damaged file: that file's name, and its damage. Else None."""
        return self.description.recovered

    @property
    def diverged(self) -> Diverged | None:
        """Where training ended because a loss was not finite; None if it did not."""
        return self.description.diverged

    @property
    def imported(self) -> ImportedFrom | None:
        """For a run imported from another program: its origin. Else None."""
        return self.description.imported

    @property
    def known_split(self) -> Split | None:
        """The train/test split; None where it is unknown (`imported` then has no `split`)."""
        return self.split if self.imported is None or self.imported.split else None

    @property
    def knows_task(self) -> bool:
        """Whether the task in the settings is that of the run; false if an import could not tell it, and it stands for that."""
        return "task" not in self.unknown

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of settings whose values only stand for what an import could not tell; with an unknown kind of network or
        optimizer, also the settings that the kind in its place has.
        """
        if self.imported is None:
            return ()
        named = self.imported.unknown
        of_kinds = (item.name for item, _ in self.config.items() if item.kinds and item.chooser in named)
        return tuple(dict.fromkeys((*named, *of_kinds)))

    @property
    def described(self) -> dict[str, Any]:
        """The stored description as JSON, including keys that this version does not know."""
        return dict(self._store.config)

    @property
    def resumes_from(self) -> int:
        """The epoch of the resume state; -1 without one."""
        return self._store.commit.resume_epoch

    @property
    def branched(self) -> BranchedFrom | None:
        """For a run forked from another one: its origin. Else None."""
        return self.description.branched

    @property
    def optimizer_from(self) -> int:
        """The epoch at which the optimizer started, all its slots zero."""
        return self.description.optimizer_from

    def drifts(self) -> list[str]:
        """A sentence for each time that training continued although it did not reproduce recorded epochs."""
        return [
            f"{here.drift.sentence(then, here)}; it went on from there all the same "
            "(--allow-drift), and what was stored until then was left as it was"
            for then, here in itertools.pairwise(self.environments)
            if here.drift is not None
        ]

    @property
    def recorded_threads(self) -> int | None:
        """The number of CPU threads that trained the run last; None if it is not recorded."""
        return next((item.threads for item in reversed(self.environments) if item.threads is not None), None)

    @property
    def recorded_pairs_at_once(self) -> int | None:
        """How many pairs were computed at a time, 0 for all, when this program trained the run last; None if it has not."""
        own = [item for item in self.environments if item.program is None]
        return own[-1].pairs_at_once if own and len(self.epochs) else None

    @property
    def planned_checkpoints(self) -> list[int]:
        """Epochs of all checkpoints, stored or planned."""
        return list(self.description.plan)

    @property
    def planned_epochs(self) -> int:
        """The last epoch of the run."""
        return self.config.epochs

    @property
    def first_word(self) -> str | None:
        """What to tell the user when a run from another computer is opened for the first time; else None."""
        return self._store.first_word

    @property
    def revision(self) -> str:
        """Changes with every change of the contents."""
        return self._store.revision

    @property
    def generation(self) -> int:
        """How often `refresh` opened another file, because the bytes at the path were replaced."""
        return self._store.generation

    @property
    def deleted(self) -> bool:
        """Whether the open file was deleted, so that its contents are lost once it is closed."""
        return self._store.deleted

    @property
    def checkpoint_checksums(self) -> UInt32[np.ndarray, " checkpoint"]:
        """CRC-32 of each stored checkpoint."""
        return self._store.read("checkpoints/crc32")

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
    def epochs(self) -> Int64[np.ndarray, " epoch"]:
        """The recorded epochs, 0 to the last one: the x axis of the curves."""
        return np.arange(self._store.n_epochs)

    @property
    def train_loss(self) -> Series:
        """Mean cross-entropy on the train pairs at each epoch, in nats."""
        return self.curve("losses/train")

    @property
    def test_loss(self) -> Series:
        """Mean cross-entropy on the test pairs, NaN at epochs where it was not evaluated."""
        return self.curve("losses/test")

    @property
    def train_accuracy(self) -> Series:
        """Fraction of the train pairs with the correct answer."""
        return self.curve("accuracy/train")

    @property
    def test_accuracy(self) -> Series:
        """Fraction of the test pairs with the correct answer, NaN at epochs where it was not evaluated."""
        return self.curve("accuracy/test")

    @property
    def split(self) -> Split:
        """Indices of the train and of the test pairs; pair (a, b) is a * p + b."""
        return Split(self._store.read("split/train"), self._store.read("split/test"))

    @property
    def checkpoints(self) -> list[int]:
        """Epochs of the stored checkpoints, increasing."""
        return [int(epoch) for epoch in self._store.checkpoint_epochs()]

    def no_checkpoint(self, epoch: object) -> CheckpointNotFoundError:
        """The error for an epoch without a checkpoint."""
        return CheckpointNotFoundError(self.path, epoch, self.checkpoints, imported=self.imported is not None)

    def weights(self, epoch: int) -> Arrays:
        """The weights at a checkpoint, float32 arrays under TransformerLens' names, in the order of
        `tdw.network.parameters.shapes`. Raises CheckpointNotFoundError.
        """
        stored = self.checkpoints
        if epoch not in stored:
            raise self.no_checkpoint(epoch)
        return self.weights_at(stored.index(epoch))

    def weights_at(self, index: int) -> Arrays:
        """The weights of the index-th checkpoint. Raises DamagedFileError."""
        found = serialization.unpack(self._store.checkpoint(index))
        self._check_weights(found, f"checkpoint {index}")
        return {name: found[name] for name in shapes(self.config)}  # safetensors gives them in any order

    def _check_weights(self, arrays: Arrays, what: str) -> None:
        if (differs := mismatch(arrays, self.config)) is not None:
            raise DamagedFileError(
                f"{self.path}: {what} is of another network: {differs}. Ask for another copy of the file."
            )

    def analysis(self, name: str) -> StoredResult:
        """Stored results of an analysis. Raises AnalysisNotFoundError."""
        stored = self.analyses()
        if name not in stored:
            raise AnalysisNotFoundError(self.path, name, stored)
        item = stored[name]
        arrays = {array: self._store.read(f"analysis/{name}/{array}") for array in item.arrays}
        if "per" in item.parameters:
            return StoredResult(name, item.version, item.parameters, self.checkpoints, arrays)
        checkpoints = [int(epoch) for epoch in arrays.pop("epoch", np.empty(0, np.int64))]
        return StoredResult(name, item.version, item.parameters, checkpoints, arrays)

    def analyses(self) -> dict[str, store.StoredAnalysis]:
        """The stored analyses by name, without reading their arrays."""
        return self._store.analyses()

    def neuron_map(self, epoch: int, neuron: int) -> Float32[np.ndarray, "p p"]:
        """Activation of a neuron on every pair at a checkpoint, (p, p): rows a, columns b. Exact, in closed form."""
        settings = self.config
        if not 0 <= neuron < settings.d_mlp:
            raise SettingError("neuron", f"neuron {neuron} does not exist: give 0 to {settings.d_mlp - 1}")
        return settings.network_kind.computation.neuron_map(self.weights(epoch), neuron, settings.nonlinearity)

    def neuron_tables(self, neurons: Sequence[int], start: int = 0) -> Float32[np.ndarray, "checkpoint neuron table"]:
        """At every checkpoint from the start-th on, what these neurons' maps are made of: (checkpoints, neurons,
        1 + 2 * routes * p), see `tdw.network.closed_form.neuron_tables`.
        """
        settings = self.config
        for neuron in neurons:
            if not 0 <= neuron < settings.d_mlp:
                raise SettingError("neuron", f"neuron {neuron} does not exist: give 0 to {settings.d_mlp - 1}")
        width = 1 + 2 * closed_form.routes(settings) * settings.p
        out = np.empty((max(len(self.checkpoints) - start, 0), len(neurons), width), dtype=np.float32)
        for row in range(out.shape[0]):
            out[row] = closed_form.neuron_tables(self.weights_at(start + row), neurons, self.config.attention_rate)
        return out

    def attention_scores(self, start: int = 0) -> Float32[np.ndarray, "checkpoint ..."]:
        """At every checkpoint from the start-th on, the scores that all neurons' maps share: (checkpoints, 2, heads, p);
        of a two-token network (checkpoints, heads, p, p); of a one-hot MLP none, (checkpoints, 0).
        """
        settings = self.config
        rows = max(len(self.checkpoints) - start, 0)
        out = np.empty((rows, *closed_form.score_shape(settings)), dtype=np.float32)
        for row in range(rows):
            out[row] = closed_form.attention_scores(self.weights_at(start + row))
        return out

    def series(self, name: str, start: int = 0, stop: int | None = None) -> Shaped[np.ndarray, "row ..."]:
        """The committed rows of a stored array by its name in the file. Raises UnknownNameError."""
        if not self._is_stored(name):
            raise UnknownNameError("stored array", name, self.array_index())
        return self._store.read(name, start, stop)

    def _is_stored(self, name: str) -> bool:
        head, _, array = name.rpartition("/")
        if head.startswith("analysis/"):
            stored = self.analyses().get(head.removeprefix("analysis/"))
            return stored is not None and array in stored.arrays
        return name in self.curves or name == "checkpoints/epoch"

    def array_index(self) -> dict[str, dict[str, Any]]:
        """All arrays for panels: name -> {"dtype", "shape", "version"}. The version changes when existing contents change, not
        when rows are appended.
        """
        rows = self._store.n_epochs
        found = {
            plan.name: {"dtype": plan.dtype, "shape": [rows], "version": self.id} for plan in self._store.curve_plans()
        }
        found["checkpoints/epoch"] = {"dtype": "<i8", "shape": [self._store.n_checkpoints], "version": self.id}
        for name, item in self.analyses().items():
            parameters = zlib.crc32(json.dumps(item.parameters, sort_keys=True).encode())
            for array, plan in item.arrays.items():
                found[f"analysis/{name}/{array}"] = {
                    "dtype": plan.dtype,
                    "shape": [item.rows, *plan.row_shape],
                    "version": f"{self.id}-{item.version}-{parameters}",
                }
        return found

    def refresh(self) -> bool:
        """Look for changes of the file; returns whether there were any. Raises what `open` does while the file at the path
        cannot be read; a later call may succeed.
        """
        return self._store.refresh()

    def drift(self, segment: Segment) -> Drift | None:
        """How a segment differs from what was recorded of the same epochs; None if it does not."""
        start, again = segment.epochs.start, self._again(segment)
        now = {name: values[:again] for name, values in series_of(segment).items()}
        stored = {name: self._store.read(name, start, start + again) for name in SERIES}
        gaps = self.recovered is not None or self.imported is not None  # missing values are not compared
        return drift_between(stored, now, start, gaps=gaps)

    def _again(self, segment: Segment) -> int:
        """How many of its epochs were already recorded."""
        return max(0, min(self._store.n_epochs - segment.epochs.start, len(segment.epochs)))

    def resume_state(self) -> State:
        """The newest resume state. Raises DamagedFileError, or ProjectError without one."""
        if self.imported is not None and self._store.commit.resume_epoch < 0:
            raise ProjectError(
                f"{self.path} cannot be trained further: it was imported, and {self.imported.why_not or 'no state of its optimizer is stored'}"
            )
        epoch, blob = self._store.resume()
        state = serialization.unpack_state(epoch, blob)
        optimizer = self.config.optimizer_kind
        if set(state.slots) != set(optimizer.slots):
            raise DamagedFileError(
                f"{self.path}: the resume state does not belong to --optimizer {optimizer.name}. Ask for "
                "another copy of the file."
            )
        for part in (state.weights, *state.slots.values()):
            self._check_weights(part, "the resume state")
        for slot in optimizer.squares:
            if wrong := [name for name, array in state.slots[slot].items() if not (array >= 0).all()]:
                raise DamagedFileError(
                    f"{self.path}: the resume state is invalid: {slot} of {wrong[0]} is a mean of squares, "
                    "and it is negative or not a number. Ask for another copy of the file."
                )
        return state

    def verify(self) -> list[str]:
        """Verify all checksums; returns a sentence for each damage, [] for an intact file."""
        return self._store.verify()

    def copy_to(self, new: Path) -> None:
        """Copy the file as of its newest commit, verifying all checksums.

        Raises AlreadyExistsError, CannotWriteError, DamagedFileError.
        """
        store.copy(self._store, new)

    def close(self) -> None:
        """Close the file."""
        self._store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def __reduce__(self) -> tuple[Any, ...]:
        return _reopened, (type(self), self.path.absolute(), self.id)

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.path.name}: {self.state}, {len(self.checkpoints)} checkpoints>"


def _reopened(kind: type[Project], path: Path, run_id: str) -> Project:
    """A pickled project: the same run at the same path, in its present state. Raises what `Project.open` raises."""
    project = kind.open(path)
    if project.id != run_id:
        project.close()
        raise ProjectError(f"{path} was replaced by another run: open it again")
    return project
