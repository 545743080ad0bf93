"""The numbers of an opened run that pages ask for. Every request is compared with the run before anything is read."""

from __future__ import annotations

import math
import threading
from collections import OrderedDict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from tdw.app.content_names import ContentNames
from tdw.app.streamed_rows import CHUNK, Rows
from tdw.errors import AppError, SettingError, UnknownNameError
from tdw.network import closed_form
from tdw.network.computation import Weights
from tdw.panels import curve_points, extremes, reductions
from tdw.run import Run

Array = NDArray[Any]

MAX_NEURONS = 1024  # per response; the page requests those in view
MAX_BUCKETS = 4096  # per response: more than a screen has pixels
MAX_EXTREMES = 8 << 20  # bytes of one array's extremes
KEPT_EXTREMES = 32 << 20  # bytes, of all arrays'


class RunArrays:
    """What `OpenRun` sends of its run: rows of arrays, points of curves, extremes, and what follows from the weights."""

    path: Path

    def __init__(self) -> None:
        self.lock = threading.RLock()
        self._contents = ContentNames()
        # array -> (what it is of, rows, extremes); the least recently asked for first
        self._extremes: OrderedDict[str, tuple[tuple[int, str], int, Array]] = OrderedDict()

    @property
    def project(self) -> Run:
        """The run. Raises the reason while it cannot be read."""
        raise NotImplementedError

    def refresh(self, *, asked: bool = False) -> bool:
        """Read changes of the file; True if there were any."""
        raise NotImplementedError

    def array(self, name: str, start: int = 0, stop: int | None = None, step: int = 1) -> Rows:
        """Every `step`-th committed row of an array in [start, stop), little-endian. Raises UnknownNameError, AppError if
        they are too large.
        """
        with self.lock:
            self.refresh()
            rows, shape, dtype = self._entry(name)
            read = self._reading(name, dtype)
        return Rows(name, *_within(start, stop, rows), math.prod(shape) * dtype.itemsize, read, step)

    def _entry(self, name: str) -> tuple[int, tuple[int, ...], np.dtype[Any]]:
        """Rows of an array, the shape of each, and the type of the numbers. Raises UnknownNameError."""
        entry = reductions.entry(self.project, name)
        if entry is None:
            raise UnknownNameError("stored array", name, self.project.array_index())
        rows, *shape = entry["shape"]
        return rows, tuple(shape), np.dtype(entry["dtype"])

    def _reading(self, name: str, dtype: np.dtype[Any]) -> Callable[[int, int], Array]:
        """A function that reads a range of rows, and notes that they are sent."""
        check_unchanged = self._unchanged(name)

        def read(begin: int, end: int) -> Array:
            with self.lock:
                check_unchanged()
                array = reductions.series(self.project, name, begin, end)
                self._contents.sent(name, begin, array)
                return np.ascontiguousarray(array, dtype=dtype)

        return read

    def points(self, name: str, every: int, start: int = 0, stop: int | None = None) -> bytes:
        """The points of a recorded curve in epochs [start, stop), for buckets of `every` epochs: all values (float64), then
        all epochs (uint32). Raises UnknownNameError, AppError.
        """
        recorded, read = self._curve(name)
        begin, end = _within(start, stop, recorded)
        if not 1 <= every <= curve_points.BLOCK:
            raise AppError(f"every must be from 1 to {curve_points.BLOCK} epochs (got {every})")
        if start % every:
            raise AppError(f"from must be a multiple of every, {every} (got {start})")
        if (buckets := -(-max(end - begin, 0) // every)) > MAX_BUCKETS:
            raise AppError(
                f"the response would have {buckets} buckets, the limit is {MAX_BUCKETS}: request fewer epochs"
            )
        epochs, values = curve_points.points(read, begin, end, every)
        return values.astype("<f8").tobytes() + epochs.astype("<u4").tobytes()

    def at_checkpoints(self, name: str, start: int = 0) -> bytes:
        """Of a recorded curve, for every checkpoint from the `start`-th on: the last value evaluated at or before it, and its
        epoch (float64). Raises UnknownNameError.
        """
        recorded, read = self._curve(name)
        with self.lock:
            epochs = self.project.checkpoints[start:]
        return curve_points.at_epochs(read, epochs, recorded).astype("<f8").tobytes()

    def _curve(self, name: str) -> tuple[int, Callable[[int, int], Array]]:
        """How many epochs a curve has, and a function that reads a range of them. Raises UnknownNameError."""
        with self.lock:
            self.refresh()
            if name not in self.project.curves:
                raise UnknownNameError("curve", name, self.project.curves)
            rows, _, dtype = self._entry(name)
            return rows, self._reading(name, dtype)

    def extremes(self, name: str) -> bytes:
        """See `tdw.panels.extremes`, float64, over all rows. Only rows that were added are read again. Raises
        UnknownNameError, AppError.
        """
        with self.lock:
            self.refresh()
            rows, shape, dtype = self._entry(name)
            entry = reductions.entry(self.project, name)
            assert entry is not None
            of = (self.project.generation, entry["version"])
            read = self._reading(name, dtype)
            held = self._extremes.get(name)
        if (size := extremes.MEASURES * math.prod(shape) * 8) > MAX_EXTREMES:
            raise AppError(
                f"{name}: the extremes would have {size / 1e6:,.0f} MB, the limit is {MAX_EXTREMES / 1e6:,.0f} MB"
            )
        at, found = (held[1], held[2]) if held and held[0] == of else (0, extremes.none_yet(shape))
        step = max(CHUNK // max(math.prod(shape) * 8, 1), 1)
        for begin in range(at, rows, step):
            found = extremes.with_rows(found, read(begin, min(begin + step, rows)))
        with self.lock:
            self._extremes[name] = of, rows, found
            self._extremes.move_to_end(name)
            while sum(kept.nbytes for _, _, kept in self._extremes.values()) > KEPT_EXTREMES:
                self._extremes.popitem(last=False)
        return found.astype("<f8").tobytes()

    def neurons(self, ids: Sequence[int], start: int = 0, stop: int | None = None, step: int = 1) -> Rows:
        """Float32 (checkpoint, neuron, 1 + 2 routes p): the closed-form tables of these neurons' maps, at every `step`-th
        checkpoint. Raises AppError, SettingError.
        """
        with self.lock:
            self.refresh()
            config, kept = self.project.config, len(self.project.checkpoints)
        if len(ids) > MAX_NEURONS or len(set(ids)) < len(ids):
            raise AppError(f"ids must be up to {MAX_NEURONS} different neurons (got {len(ids)})")
        for neuron in ids:
            if not 0 <= neuron < config.d_mlp:
                raise SettingError("neuron", f"neuron must be from 0 to {config.d_mlp - 1} (got {neuron})")
        width = 1 + 2 * closed_form.routes(config) * config.p
        read = self._of_checkpoints(lambda weights: closed_form.neuron_tables(weights, ids, config.attention_rate))
        return Rows("neuron tables", *_within(start, stop, kept), len(ids) * width * 4, read, step)

    def scores(self, start: int = 0, stop: int | None = None, step: int = 1) -> Rows:
        """Float32 (checkpoint, …): the attention scores at every `step`-th checkpoint, see `Project.attention_scores`.
        Raises AppError.
        """
        with self.lock:
            self.refresh()
            config, kept = self.project.config, len(self.project.checkpoints)
        width = math.prod(closed_form.score_shape(config))
        read = self._of_checkpoints(closed_form.attention_scores)
        return Rows("attention scores", *_within(start, stop, kept), width * 4, read, step)

    def _of_checkpoints(self, measure: Callable[[Weights], Array]) -> Callable[[int, int], Array]:
        """A function that computes a measure for a range of checkpoints."""
        check_unchanged = self._unchanged()

        def read(begin: int, end: int) -> Array:
            with self.lock:
                check_unchanged()
                values = [measure(self.project.weights_at(row)) for row in range(begin, end)]
                self._contents.sent_weights(self.project)
            return np.ascontiguousarray(values, dtype="<f4")

        return read

    def _unchanged(self, name: str = "checkpoints/epoch") -> Callable[[], None]:
        """A function that raises AppError once the array has different content, because the file was replaced or analyzed."""
        with self.lock:
            generation, entry = self.project.generation, reductions.entry(self.project, name)

        def check() -> None:
            now = reductions.entry(self.project, name)
            same = now is not None and entry is not None and now["version"] == entry["version"]
            if self.project.generation != generation or not same:
                raise AppError(f"{self.path.name} changed while it was being read: reload the page")

        return check


def _within(start: int, stop: int | None, rows: int) -> tuple[int, int]:
    """A range of rows as far as there are any."""
    return min(start, rows), rows if stop is None else min(stop, rows)
