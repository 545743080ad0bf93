"""Dose curves: how the delay of grokking depends on the epoch at which a run is edited, compared with random edits.

At every epoch, the run is branched with the edits (`tdw.project.edits`), and for the null a number of times with random changes
instead: each weight that the edits change by some Euclidean norm is changed by that norm in a random direction. What the edits do
otherwise (freeze, reset the optimizer) and changed settings are the same in all of these. A random number r gives the same
directions at every epoch, so that the r-th random branches of all epochs are one draw.

Delay: the epochs from the first train loss below 0.1 to the first recorded test loss below 0.1, as `tdw.analyses.events` has it (the
largest number that the recording allows). A run that does not get there within its epochs is censored: its delay is longer than what
is left of its epochs after it memorized.

p-value: (1 + #) / (1 + n), where # of the n random branches have a delay at least as far from the mean of all n + 1 as that of the edit,
see `tdw.analyses.baselines.p_values`; censored delays count with their bound. Corrected: so for all epochs together, by the
single-step max-T procedure of Westfall and Young 1993.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, SupportsIndex

import numpy as np
from jaxtyping import Float64

from tdw import arguments, schedule
from tdw.analyses import events
from tdw.analyses.baselines import band, p_values
from tdw.errors import AlreadyExistsError, ArgumentError, ProjectError, SettingError, StoppedError
from tdw.network.segment import Arrays, State
from tdw.operations import edited
from tdw.operations.branch import Fork, states_at
from tdw.project.edits import Edit, Freeze, Random, ResetOptimizer, several
from tdw.project.project import Project
from tdw.run import Run
from tdw.safe_text import shown, typed
from tdw.setting import integer
from tdw.store.atomic import make_folder, new_file
from tdw.sweeps.work import Work, work

MOST_RANDOM = 100_000  # random edits at an epoch


@dataclass(frozen=True)
class Delay:
    """How long a branch took from memorization to generalization.

    epochs:   the delay; where it is censored, it is longer than this
    censored: whether the branch did not generalize within its epochs
    diverged: whether it ended because a loss was not finite, which counts as censored by all its epochs
    """

    file: str
    epochs: int
    censored: bool = False
    diverged: bool = False

    @property
    def text(self) -> str:
        """The number of epochs, after ">" if it is censored."""
        return f"{'>' if self.censored else ''}{self.epochs}"


@dataclass(frozen=True)
class Dose:
    """What the edits did at one epoch.

    norm:   Euclidean norm of the change over all weights; None at an epoch without a checkpoint, after generalization
    delay:  that of the edited branch; None where the run had generalized before, so that nothing is left to delay
    null:   those of the random branches
    median, low, high: of the null as text, with ">" where they are censored; "" without random branches
    p, corrected: p-values, uncorrected and corrected over all epochs; None without random branches
    """

    at: int
    norm: float | None
    delay: Delay | None
    null: tuple[Delay, ...] = ()
    median: str = ""
    low: str = ""
    high: str = ""
    p: float | None = None
    corrected: float | None = None


@dataclass(frozen=True)
class DoseCurve:
    """The delays with edits at some epochs. run: name of the file. edits: a sentence for each. delay: that of the run itself."""

    run: str
    edits: list[str]
    delay: Delay
    doses: list[Dose]


def dose(
    path: str | Path,
    folder: str | Path,
    *,
    edits: str | Edit | Iterable[str | Edit],
    at: str | int | Iterable[int],
    random: int | str = 20,
    jobs: int | None = None,
    progress: Callable[[Work], None] | None = None,
    stop: Callable[[], bool] | None = None,
    **changes: Any,
) -> DoseCurve:
    """Branch a run with the same edits at several epochs, and with random edits of equal norm; train all; compare the delays.

    folder: gets a file for each branch, `edit-at-EPOCH.tdw` and `random-NUMBER-at-EPOCH.tdw`; created if missing. Files that are there
            are kept and finished, so that the same call goes on where it was stopped.
    edits:  one or several, see `tdw.branch`
    at:     a recorded epoch, a list of them, or a schedule such as "0:2000:100"
    random: number of random edits for each epoch
    jobs, progress: as in `tdw.work`
    changes: settings of training that differ in all branches. By default they store no checkpoint between the edit and the end.

    Raises ArgumentError, SettingError, CheckpointNotFoundError, StoppedError once `stop` returns True, AlreadyExistsError for another file of that
    name, and what `tdw.branch` and `tdw.train` raise.
    """
    folder, changes = arguments.path("folder", folder), {"checkpoints": "", **changes}
    number, given, jobs = _number(random), several(edits), arguments.jobs(jobs)
    arguments.function("progress", progress)
    arguments.function("stop", stop)
    with Run.open(path) as run:
        epochs = _epochs(run, at)
        generalized = next(event for event in run.events() if event.name == events.GENERALIZED).first
        ahead = [epoch for epoch in epochs if generalized is None or epoch <= generalized[1]]
        forks = {epoch: _fork(run, epoch, given, changes) for epoch in epochs}  # refuses what cannot be done
        norms = {epoch: _norms(fork, run.weights(epoch)) for epoch, fork in forks.items() if epoch in run.checkpoints}
        replayed = [epoch for epoch in ahead if epoch not in norms]
        if number and ahead and not (replayed or any(any(norms[epoch].values()) for epoch in ahead)):
            raise _no_change(number)
        if replayed or not all(path.exists() for epoch in ahead for path in _files(folder, epoch, number)):
            first = forks[ahead[0]]
            for state in states_at(run, ahead, first.split, stop=stop, weights_only=first.edits.fresh):
                at_once = norms.setdefault(state.epoch, _norms(forks[state.epoch], state.weights))
                if number and ahead == replayed and not any(at_once.values()):
                    raise _no_change(number)
                _write(_branches(forks[state.epoch], folder, at_once, number, changes), state, folder)
        else:
            for epoch in ahead:
                _write(_branches(forks[epoch], folder, norms[epoch], number, changes), None, folder)
        files = [path for epoch in ahead for path in _files(folder, epoch, number)]
        _finish(files, folder, jobs, progress, stop)
        found = {epoch: [delay_of(name) for name in _files(folder, epoch, number)] for epoch in ahead}
        sizes = {
            epoch: float(np.sqrt(sum(size**2 for size in norms[epoch].values()))) if epoch in norms else None
            for epoch in epochs
        }
        sentences = [edit.sentence for edit in forks[epochs[0]].edits.edits]
        return DoseCurve(run.path.name, sentences, _delay(run), compared(found, sizes))


def compared(found: dict[int, list[Delay]], norms: dict[int, float | None]) -> list[Dose]:
    """The doses, by epoch. found: the delay with the edits and then those of the null, for the epochs before generalization."""
    corrected = {}
    # Where no branch generalized, nothing is known of the delays: their bounds only rank the times of memorizing.
    tested = [
        epoch for epoch, delays in found.items() if len(delays) > 1 and not all(delay.censored for delay in delays)
    ]
    if tested:
        delays = np.array([[float(delay.epochs) for delay in found[epoch]] for epoch in tested]).T
        corrected = dict(zip(tested, p_values(delays[0], delays[1:], np.zeros(len(tested))).tolist(), strict=True))
    doses = []
    for epoch, norm in norms.items():
        if epoch not in found:
            doses.append(Dose(epoch, norm, None))
            continue
        own, *null = found[epoch]
        if not null:
            doses.append(Dose(epoch, norm, own))
            continue
        values = np.array([[delay.epochs] for delay in null], np.float64)
        p = float(p_values(np.array([float(own.epochs)]), values, np.zeros(1))[0]) if epoch in tested else None
        low, median, high = (_text(value, null) for value in band(_with_censored(null))[0])
        doses.append(Dose(epoch, norm, own, tuple(null), median, low, high, p, corrected.get(epoch)))
    return doses


def delay_of(path: str | Path) -> Delay:
    """The delay of a run that is finished or diverged."""
    with Run.open(path) as run:
        return _delay(run)


def _delay(run: Run) -> Delay:
    name, found = run.path.name, run.grokking().delay
    if found is not None:
        return Delay(name, found[1])
    memorized = next(event for event in run.events() if event.name == events.MEMORIZED).first
    # One that diverged would not have generalized with more epochs either: it is compared with the others as one that did not.
    until = len(run.epochs) - 1 if run.diverged is None else run.planned_epochs
    return Delay(name, until - (memorized[1] if memorized else 0), censored=True, diverged=run.diverged is not None)


def _with_censored(delays: Sequence[Delay]) -> Float64[np.ndarray, "branch 1"]:
    """The delays as a column, infinite where they are censored."""
    return np.array([[np.inf if delay.censored else delay.epochs] for delay in delays], np.float64)


def _text(value: float, delays: Sequence[Delay]) -> str:
    """A statistic of delays as text. One that is infinite is longer than the least bound of those that are censored."""
    if np.isfinite(value):
        return f"{value:g}"
    return f">{min(delay.epochs for delay in delays if delay.censored)}"


def _number(given: int | str) -> int:
    try:
        return arguments.integer("--random", integer(given) if isinstance(given, str) else given, 0, MOST_RANDOM)
    except (ValueError, ArgumentError):
        raise SettingError(
            "random",
            f"--random must be a number of branches from 0 to {MOST_RANDOM} (got {shown(given)})",
        ) from None


def _epochs(run: Run, at: str | int | Iterable[int]) -> list[int]:
    """The epochs of the edits, all of them recorded ones. Raises ArgumentError, SettingError."""
    if isinstance(at, str):
        text = at
    else:
        allowed = f"epochs, as a list of integers or as text: {schedule.FORMS}"
        several_epochs = [at] if isinstance(at, SupportsIndex) else arguments.several("at", at, allowed)
        text = schedule.text_of(arguments.integer("at", epoch, 0) for epoch in several_epochs)
    if not len(run.epochs):
        raise SettingError(
            "at", f"{run.path.name} has not been trained: train it first, `tdw train {typed(run.path.name)}`"
        )
    epochs = sorted(schedule.listed(text, run.planned_epochs))
    if not epochs:
        raise SettingError("at", f"--at must name epochs: {schedule.FORMS} (got {text or 'nothing'})")
    return epochs


def _fork(run: Project, at: int, given: Iterable[str | Edit], changes: dict[str, Any]) -> Fork:
    """The branch of a run with the edits at an epoch. Raises what `Fork.of` raises."""
    past = {0} if run.branched is None else {0, *(fork.at for fork in run.branched.history)}  # those for a replay
    return Fork.of(run, at, given, changes, past)


def _norms(fork: Fork, before: Arrays) -> dict[str, float]:
    """By how much the edits change each weight: its Euclidean norm, for those weights that may change."""
    after = fork.edits.applied(State(fork.at, before, {}), fork.settings).weights
    return {
        name: edited.norm(after[name].astype(np.float64) - before[name]) for name in fork.edits.touched(fork.settings)
    }


def _no_change(number: int) -> SettingError:
    return SettingError(
        "random",
        f"--random needs edits that change weights, because the random ones have the same norm (got {number}): give --random 0",
    )


def _branches(
    first: Fork, folder: Path, norms: dict[str, float], number: int, changes: dict[str, Any]
) -> Iterator[tuple[Path, Fork]]:
    """The branches at the epoch of a fork, and their files: it, and those with random edits of equal norm."""
    others = [edit for edit in first.edits.edits if isinstance(edit, (ResetOptimizer, Freeze))]
    for seed, path in enumerate(_files(folder, first.at, number)):
        null = [Random(weights=(name,), norm=norm, seed=seed) for name, norm in norms.items()]
        yield path, _fork(first.source, first.at, [*null, *others], changes) if seed else first


def _files(folder: Path, at: int, number: int) -> list[Path]:
    """The files of the branches at an epoch: that with the edits, then the random ones."""
    return [folder / f"edit-at-{at}.tdw", *(folder / f"random-{seed}-at-{at}.tdw" for seed in range(1, number + 1))]


def _write(branches: Iterable[tuple[Path, Fork]], state: State | None, folder: Path) -> None:
    """Write the branches that are missing. state: of the run at their epoch; None if all are there. A folder in which nothing could be
    written is removed.
    """
    for path, fork in branches:
        if path.exists():
            with Run.open(path) as existing:
                if not fork.is_described_by(existing):
                    raise AlreadyExistsError(path)
            continue
        assert state is not None, "the files were there"
        try:
            make_folder(folder)
            with new_file(path) as part:
                fork.write(part, path, fork.started(state))
        except BaseException:
            with suppress(OSError):  # it is not empty
                folder.rmdir()
            raise


def _finish(
    paths: Sequence[Path],
    folder: Path,
    jobs: int | None,
    progress: Callable[[Work], None] | None,
    stop: Callable[[], bool] | None,
) -> None:
    """Train the runs in these files that are not finished. Raises StoppedError, ProjectError."""
    left = [path for path in paths if not _is_over(path)]
    if not left:
        return
    done = work(folder, only=left, jobs=jobs, retry=True, progress=progress, stop=stop)
    if done.stopped and not done.paths("failed"):
        over = len(paths) - len(left) + len(done.paths("finished", "current", "diverged"))
        raise StoppedError(
            f"{over} of {len(paths)} branches in {folder} are finished. Run the same command again for the others."
        )
    for path in done.paths("failed", "gone", "busy"):
        state, message = done.outcomes[path]
        raise ProjectError(f"{path} is not finished ({message or state}). Run the same command again.")


def _is_over(path: Path) -> bool:
    with Run.open(path) as run:
        return run.state == "finished" or run.diverged is not None
