"""Align the epochs of a source with ours and find its train/test split, by comparing its losses with its weights."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache, partial
from typing import Any, NamedTuple

import numpy as np

from tdw.config import TaskConfig
from tdw.errors import NotImportableError, SettingError
from tdw.interchange import split_search
from tdw.interchange.source_run import RULES, Rule, SourceCheckpoint, SourceRun
from tdw.interchange.split_search import Anchor, Match, Stored, pair_losses, stored_at
from tdw.interchange.weight_layouts import read, without_zero_biases
from tdw.network.kinds import Nonlinearity
from tdw.network.segment import Series
from tdw.tasks import Split, check_split

ANCHORS = 5  # checkpoints to compare losses at
ROUNDED = 1e-7  # by this much a small mean loss may differ that was computed in float32
SMALL = ROUNDED / split_search.EXACT
SURE = split_search.EXACT / 10  # if losses are this close, no other meaning of the labels is tried
WRONG = 0.1  # a requested split is refused if losses differ by more than this


class Reading(NamedTuple):
    """A meaning of a source's labels.

    epoch_offset: our epoch minus the label of a checkpoint
    test_offset:  our epoch of the first test loss; the others follow every `stride` epochs
    open:         all strides that remain possible, if the losses do not decide between them
    """

    epoch_offset: int
    test_offset: int
    stride: int
    open: tuple[int, ...] = ()


def align(
    run: SourceRun,
    settings: dict[str, Any],
    strides: Sequence[int],
    hints: dict[str, Any],
    source: str,
    earlier: SourceCheckpoint | None,
    found: Match | None = None,
) -> tuple[Reading, Match | None]:
    """The meaning of the labels, and the split; None if it is unknown.

    earlier: the last weights before their last update, if known; the source has the losses of these weights
    found: a split to judge, in place of a search
    If the losses show that labels do not have the meaning that is usual for the form, the losses take precedence.
    Raises NotImportableError, SettingError for hints that contradict the source.
    """
    usual = Reading(run.epoch_offset, run.test_offset, strides[0])
    unsure = usual._replace(open=tuple(strides) if len(strides) > 1 else ())
    if "p" not in settings:
        return unsure, None
    p = settings["p"]
    listed = _listed(run, p, hints, source)
    chosen = _chosen(run)
    if earlier is not None:
        chosen = [*chosen, earlier]
    if not chosen or not run.has_losses:
        return unsure, _trusted(run, listed, p, hints)
    losses = _losses(chosen, settings)

    best: tuple[float, Reading, Match] | None = None
    for rounding in (0.0, ROUNDED):  # a source that computes in float64 gives small losses exactly, which decides more
        for reading in _readings(run, strides):
            anchors = _anchors(run, chosen, losses, reading, rounding)
            if found is None:
                match = _judged(anchors, listed, run, p, hints, thorough=reading == usual)
            else:
                match = split_search.judge(anchors, found.split, found.rule, found.chance)
            if match is None or match.error is None:
                continue
            if best is None or match.error < best[0] / 3:
                best = (match.error, reading, match)
            if reading == usual and match.within and match.error < SURE:
                break
        if best is not None or not _has_small(run):
            break
    if best is None:
        run.inferred.append(
            "the train/test split is unknown: none of the splits that were tried reproduces the stored losses"
        )
        return unsure, None
    off, reading, match = best
    if listed is None and "data_seed" in hints and not match.within and off > WRONG:
        raise SettingError(
            "data_seed",
            f"--data-seed {hints['data_seed']} with --train-fraction {hints['train_fraction']:g} is not the split of {source}: "
            f"the losses of its weights differ from the stored ones by a factor of {np.exp(off):.2g}",
        )
    if reading[:2] != usual[:2]:
        if match.within:
            run.contradicted.append(
                "the losses show that checkpoints or test losses are labeled differently than usual for this form: the "
                "labels were interpreted accordingly"
            )
        else:
            reading = Reading(usual.epoch_offset, usual.test_offset, reading.stride)
    _report(run, match, hints)
    if len(strides) > 1:
        others = [reading._replace(stride=stride) for stride in strides]
        shown = [one.stride for one in others if _shows(run, chosen, losses, one, match.split)]
        reading = (
            reading._replace(stride=shown[0], open=()) if len(shown) == 1 else reading._replace(open=tuple(strides))
        )
    return reading, match


def _shows(
    run: SourceRun,
    chosen: Sequence[SourceCheckpoint],
    losses: Sequence[Callable[[], Series]],
    reading: Reading,
    split: Split,
) -> bool:
    """Whether by this meaning of the labels a test loss is recorded for some of the weights, and all have their losses."""
    anchors = _anchors(run, chosen, losses, reading, ROUNDED)
    recorded = any("test" in anchor.sides and anchor.sides["test"].exact for anchor in anchors)
    return recorded and split_search.judge(anchors, split, None).within


def _listed(run: SourceRun, p: int, hints: dict[str, Any], source: str) -> Split | None:
    """The split listed in the source, checked. Raises NotImportableError, SettingError."""
    if run.pairs is None:
        return None
    if "data_seed" in hints:
        raise SettingError("data_seed", f"--data-seed does not apply: {source} lists its split; leave it out")
    try:
        listed = check_split(run.pairs.train, run.pairs.test, p)
    except SettingError as error:
        raise NotImportableError(
            f"{source} cannot be imported: the split that it lists is invalid ({error})."
        ) from error
    count = len(listed.train) + len(listed.test)
    if count != p * p:
        raise NotImportableError(f"{source} cannot be imported: it lists {count} pairs instead of {p * p} for p = {p}.")
    return listed


def _trusted(run: SourceRun, listed: Split | None, p: int, hints: dict[str, Any]) -> Match | None:
    """The listed or requested split, if there are no losses and weights to compare it with."""
    if listed is not None:
        return Match(listed, None, None, True, None, ())
    if "data_seed" not in hints:
        return None
    rule = _named(run, hints)[0]
    run.inferred.append("the split is the requested one; there are no losses and weights to verify it")
    return Match(split_search.draw(rule, p * p), rule, None, True, None, ())


def _losses(chosen: Sequence[SourceCheckpoint], settings: dict[str, Any]) -> list[Callable[[], Series]]:
    """Functions that give the loss of every pair at each of these checkpoints, (p * p,) each, computed when first asked for."""
    task = TaskConfig(task=settings.get("task", "add"), p=settings["p"])

    def compute(checkpoint: SourceCheckpoint) -> Series:
        arrays, _ = read(checkpoint.load(), checkpoint.what)
        if settings["biases"] == "none":
            arrays = without_zero_biases(arrays)
        _, (losses,) = pair_losses(arrays, Nonlinearity.of(settings), [task])
        return losses

    return [cache(partial(compute, checkpoint)) for checkpoint in chosen]


def _readings(run: SourceRun, strides: Sequence[int]) -> list[Reading]:
    """The possible meanings of the labels, the usual one first."""
    several = len(run.checkpoints) > 1
    offsets = [run.epoch_offset, 1 - run.epoch_offset] if several and run.epoch_offset in {0, 1} else [run.epoch_offset]
    tests = [run.test_offset, 1 - run.test_offset] if several or run.test_offset else [0]
    return [
        Reading(epoch_offset, test_offset, stride)
        for epoch_offset in offsets
        for test_offset in tests
        for stride in strides
    ]


def _judged(
    anchors: Sequence[Anchor], listed: Split | None, run: SourceRun, p: int, hints: dict[str, Any], *, thorough: bool
) -> Match | None:
    """The listed, requested or found split, and how well it reproduces the losses."""
    if not any(anchor.sides for anchor in anchors):
        return None
    if listed is not None:
        return split_search.judge(anchors, listed, None)
    named = _named(run, hints)
    if "data_seed" in hints:
        judged = [split_search.judge(anchors, split_search.draw(rule, p * p), rule) for rule in named]
        return min(judged, key=lambda match: match.error or 0.0)
    return split_search.find(anchors, run.likely_rule, named, thorough=thorough)


def _named(run: SourceRun, hints: dict[str, Any]) -> list[Rule]:
    """The splits named by the hints or the source."""
    if "data_seed" not in hints:
        return run.rules
    names = [hints["split_rule"]] if "split_rule" in hints else sorted(RULES, key=lambda name: name != run.likely_rule)
    return [Rule(name, hints["data_seed"], hints["train_fraction"]) for name in names]


def _chosen(run: SourceRun) -> list[SourceCheckpoint]:
    """A few checkpoints to compare losses at: those where train and test loss differ most, the first and the last."""
    checkpoints = [checkpoint for checkpoint in run.checkpoints if checkpoint.label is not None]
    if len(checkpoints) <= ANCHORS:
        return checkpoints

    def apart(checkpoint: SourceCheckpoint) -> float:
        # Approximate, because the labels' meaning is not known yet; neighboring epochs are similar.
        sides = []
        for curve in (run.train, run.test):
            if curve is None or run.train is None:
                return 0.0
            at = int((checkpoint.label or 0) * len(curve) / len(run.train))
            sides.append(float(curve[at]) if at < len(curve) else np.nan)
        gap = abs(np.log(sides[0] / sides[1])) if min(sides) > 0 else 0.0
        return float(gap) if np.isfinite(gap) else 0.0

    order = sorted(range(len(checkpoints)), key=lambda index: -apart(checkpoints[index]))[: ANCHORS - 2]
    return [checkpoints[index] for index in sorted({0, len(checkpoints) - 1, *order})]


def _anchors(
    run: SourceRun,
    chosen: Sequence[SourceCheckpoint],
    losses: Sequence[Callable[[], Series]],
    reading: Reading,
    rounding: float,
) -> list[Anchor]:
    """The chosen checkpoints with their stored losses: those of the same epoch if there are any, else extrapolated ones.

    rounding: by how much a stored loss may differ from that of the weights
    """
    sides: list[tuple[int, Callable[[], Series], dict[str, Stored]]] = []
    for checkpoint, of_pairs in zip(chosen, losses, strict=True):
        epoch = (checkpoint.label or 0) + reading.epoch_offset
        stored = {"train": None if run.averaged else stored_at(run.train, epoch, rounding), "test": None}
        if run.test is not None:
            last = (len(run.test) - 1) * reading.stride + reading.test_offset
            stored["test"] = stored_at(
                by_epoch(run.test, reading.stride, reading.test_offset, max(epoch, last)), epoch, rounding
            )
        sides.append((epoch, of_pairs, {side: item for side, item in stored.items() if item is not None}))
    exact = [
        (epoch, of_pairs, {side: item for side, item in items.items() if item.exact})
        for epoch, of_pairs, items in sides
    ]
    used = exact if any(items for _, _, items in exact) else sides
    return [Anchor(epoch, of_pairs(), items) for epoch, of_pairs, items in used if items]


def _has_small(run: SourceRun) -> bool:
    """Whether there are losses so small that rounding in float32 shows."""
    return any(curve is not None and bool((curve < SMALL).any()) for curve in (run.train, run.test))


def by_epoch(curve: Series | None, stride: int, offset: int, epochs: int) -> Series:
    """A curve by epoch, (epochs + 1,), NaN where not recorded. Entry i of `curve` is at epoch i * stride + offset."""
    out = np.full(epochs + 1, np.nan)
    if curve is not None:
        at = np.arange(len(curve)) * stride + offset
        inside = at <= epochs
        out[at[inside]] = curve[inside]
    return out


def _report(run: SourceRun, match: Match, hints: dict[str, Any]) -> None:
    at = f"at {len(match.anchors)} checkpoint{'s' if len(match.anchors) > 1 else ''}"
    off = f"within {np.expm1(match.error or 0):.2g} of the stored losses {at}"
    if match.rule is None:
        if match.within:
            run.inferred.append(f"the split is listed in the source; its losses are {off}")
        else:
            run.contradicted.append(
                f"the split is listed in the source, but with it the losses of the weights are only {off}"
            )
        return
    shown = f"seed {match.rule.seed}, training fraction {match.rule.fraction:g}"
    if match.chance is not None:
        run.inferred.append(
            f"the split is drawn by {RULES[match.rule.name]}: {shown}; its losses are {off} (expected number of chance "
            f"matches: {match.chance:.1g})"
        )
    else:
        run.inferred.append(f"the split is the requested one ({shown}); its losses are {off}")
    named = _named(run, hints)
    if named and match.rule not in named:
        run.contradicted.append(
            f"the source says seed {named[0].seed}, training fraction {named[0].fraction:g}, but the losses are those of {shown}"
        )
