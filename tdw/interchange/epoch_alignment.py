"""How a file's epochs lie to ours, and which pairs were trained on: what the losses and the weights say together."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from tdw.config import TaskConfig
from tdw.errors import NotImportableError, SettingError
from tdw.interchange import split_search
from tdw.interchange.source_run import RULES, Foreign, Piece, Rule
from tdw.interchange.split_search import Anchor, Match, pair_losses, stored_at
from tdw.interchange.weight_layouts import read, without_zero_biases
from tdw.network.segment import Series
from tdw.tasks import Split, check_split

ANCHORS = 5  # checkpoints by which a split is known
SURE = split_search.EXACT / 10  # no other reading of the labels is tried where the losses are as close as this
WRONG = 0.1  # a split that somebody asks for is refused where the losses are farther off


class Reading(NamedTuple):
    """late: by how much an epoch here is more than a label there; late_test: the same of test losses, which lie `stride`
    epochs apart
    """

    late: int
    late_test: int
    stride: int


def matched(
    found: Foreign,
    settings: dict[str, Any],
    strides: Sequence[int],
    known: dict[str, Any],
    source: str,
    earlier: Piece | None,
) -> tuple[Reading, Match | None]:
    """How labels are to be read, and the split, so far as they show; None where nobody knows it.

    earlier: the last weights before their last update, where that is known: losses are stored of these very weights.
    Where the losses say that labels mean something else than is usual for the form, they are believed.
    """
    usual = Reading(found.late, found.late_test, strides[0])
    if "p" not in settings:
        return usual, None
    p = settings["p"]
    listed = _listed(found, p, known, source)
    chosen = _chosen(found)
    if earlier is not None:
        chosen = [*chosen, earlier]
    if not chosen or (found.train is None and found.test is None):
        return usual, _trusted(found, listed, p, known)
    losses = _losses(chosen, settings)

    best: tuple[float, Reading, Match] | None = None
    for reading in _readings(found, strides):
        anchors = _anchors(found, chosen, losses, reading)
        match = _judged(anchors, listed, found, p, known, thorough=reading == usual)
        if match is None or match.error is None:
            continue
        if best is None or match.error < best[0] / 3:
            best = (match.error, reading, match)
        if reading == usual and match.within and match.error < SURE:
            break
    if best is None:
        found.inferred.append(
            "which pairs were trained on is not known: no split that is looked for goes with the stored losses"
        )
        return usual, None
    off, reading, match = best
    if listed is None and "data_seed" in known and not match.within and off > WRONG:
        raise SettingError(
            "data_seed",
            f"--data-seed {known['data_seed']} with --train-fraction {known['train_fraction']:g} is not the split of {source}: the losses of "
            f"its weights are {np.expm1(off):.2g} times off from the stored ones",
        )
    if reading[:2] != usual[:2]:
        if match.within:
            found.contradicted.append(
                "the losses say that labels of checkpoints or test losses mean another update there than is usual for this form: the losses are believed"
            )
        else:
            reading = Reading(usual.late, usual.late_test, reading.stride)
    _tell(found, match, known)
    return reading, match


def _listed(found: Foreign, p: int, known: dict[str, Any], source: str) -> Split | None:
    """The split that the source lists, checked. Raises NotImportableError, SettingError."""
    if found.pairs is None:
        return None
    if "data_seed" in known:
        raise SettingError("data_seed", f"--data-seed makes no sense: {source} lists the pairs that were trained on")
    try:
        listed = check_split(found.pairs.train, found.pairs.test, p)
    except SettingError as error:
        raise NotImportableError(
            f"{source} cannot be imported: the pairs that it lists are no split ({error})."
        ) from error
    count = len(listed.train) + len(listed.test)
    if count != p * p:
        raise NotImportableError(
            f"{source} cannot be imported: it lists {count} pairs, and with p = {p} there are {p * p}."
        )
    return listed


def _trusted(found: Foreign, listed: Split | None, p: int, known: dict[str, Any]) -> Match | None:
    """The split that the source lists or somebody asks for, where there is nothing to hold it against."""
    if listed is not None:
        return Match(listed, None, None, True, None, ())
    if "data_seed" not in known:
        return None
    rule = _named(found, known)[0]
    found.inferred.append("the split is the one that was asked for; there are no losses and weights to hold it against")
    return Match(split_search.draw(rule, p * p), rule, None, True, None, ())


def _losses(chosen: Sequence[Piece], settings: dict[str, Any]) -> list[Series]:
    """The loss of every pair with each of these weights."""
    task = TaskConfig(task=settings.get("task", "add"), p=settings["p"])
    out = []
    for piece in chosen:
        arrays, _ = read(piece.load(), piece.what)
        if settings["biases"] == "none":
            arrays = without_zero_biases(arrays)
        _, (losses,) = pair_losses(arrays, settings.get("activation", "relu"), [task])
        out.append(losses)
    return out


def _readings(found: Foreign, strides: Sequence[int]) -> list[Reading]:
    """The ways in which labels may be meant, the usual one first."""
    several = len(found.pieces) > 1
    lates = [found.late, 1 - found.late] if several and found.late in {0, 1} else [found.late]
    tests = [found.late_test, 1 - found.late_test] if several or found.late_test else [0]
    return [Reading(late, late_test, stride) for late in lates for late_test in tests for stride in strides]


def _judged(
    anchors: Sequence[Anchor], listed: Split | None, found: Foreign, p: int, known: dict[str, Any], *, thorough: bool
) -> Match | None:
    """The split that is listed, asked for, or found, and how well it goes with the losses."""
    if not any(anchor.sides for anchor in anchors):
        return None
    if listed is not None:
        return split_search.judge(anchors, listed, None)
    named = _named(found, known)
    if "data_seed" in known:
        judged = [split_search.judge(anchors, split_search.draw(rule, p * p), rule) for rule in named]
        return min(judged, key=lambda match: match.error or 0.0)
    return split_search.find(anchors, found.likely_rule, named, thorough=thorough)


def _named(found: Foreign, known: dict[str, Any]) -> list[Rule]:
    """The splits that hints or the source name."""
    if "data_seed" not in known:
        return found.rules
    names = (
        [known["split_rule"]] if "split_rule" in known else sorted(RULES, key=lambda name: name != found.likely_rule)
    )
    return [Rule(name, known["data_seed"], known["train_fraction"]) for name in names]


def _chosen(found: Foreign) -> list[Piece]:
    """A few checkpoints by which a split is known: where train and test loss differ most, and the first and the last."""
    pieces = [piece for piece in found.pieces if piece.label is not None]
    if len(pieces) <= ANCHORS:
        return pieces

    def apart(piece: Piece) -> float:
        # Roughly, whatever the labels mean exactly: neighboring epochs are alike.
        sides = []
        for curve in (found.train, found.test):
            if curve is None or found.train is None:
                return 0.0
            at = int((piece.label or 0) * len(curve) / len(found.train))
            sides.append(float(curve[at]) if at < len(curve) else np.nan)
        gap = abs(np.log(sides[0] / sides[1])) if min(sides) > 0 else 0.0
        return float(gap) if np.isfinite(gap) else 0.0

    order = sorted(range(len(pieces)), key=lambda index: -apart(pieces[index]))[: ANCHORS - 2]
    return [pieces[index] for index in sorted({0, len(pieces) - 1, *order})]


def _anchors(found: Foreign, chosen: Sequence[Piece], losses: Sequence[Series], reading: Reading) -> list[Anchor]:
    """The chosen checkpoints with what is stored of them: losses of the very epoch where there are any, else what the
    last ones before it lead to.
    """
    anchors = []
    for piece, of_pairs in zip(chosen, losses, strict=True):
        epoch = (piece.label or 0) + reading.late
        stored = {"train": stored_at(found.train, epoch), "test": None}
        if found.test is not None:
            last = (len(found.test) - 1) * reading.stride + reading.late_test
            stored["test"] = stored_at(placed(found.test, reading.stride, reading.late_test, max(epoch, last)), epoch)
        anchors.append(Anchor(epoch, of_pairs, {side: item for side, item in stored.items() if item is not None}))
    exact = [
        Anchor(one.epoch, one.losses, {side: item for side, item in one.sides.items() if item.exact}) for one in anchors
    ]
    return exact if any(one.sides for one in exact) else anchors


def placed(curve: Series | None, stride: int, late: int, epochs: int) -> Series:
    """Losses at their epochs, (epochs + 1,); NaN where none was recorded."""
    out = np.full(epochs + 1, np.nan)
    if curve is not None:
        at = np.arange(len(curve)) * stride + late
        inside = at <= epochs
        out[at[inside]] = curve[inside]
    return out


def _tell(found: Foreign, match: Match, known: dict[str, Any]) -> None:
    at = f"at {len(match.anchors)} checkpoint{'s' if len(match.anchors) > 1 else ''}"
    off = f"within {np.expm1(match.error or 0):.2g} of the stored losses {at}"
    if match.rule is None:
        if match.within:
            found.inferred.append(f"the split is listed there, and its losses are {off}")
        else:
            found.contradicted.append(
                f"the split is listed there, but with it the losses of the weights are only {off}"
            )
        return
    shown = f"seed {match.rule.seed}, share {match.rule.fraction:g}"
    if match.chance is not None:
        found.inferred.append(
            f"the split is drawn by {RULES[match.rule.name]}: {shown}; its losses are {off}, as by chance {match.chance:.1g} others would be"
        )
    else:
        found.inferred.append(f"the split is the one that was asked for ({shown}); its losses are {off}")
    named = _named(found, known)
    if named and match.rule not in named:
        found.contradicted.append(
            f"the source names seed {named[0].seed} and share {named[0].fraction:g}; the losses go with {shown}"
        )
