"""The run that an import will write: settings, split, curves, checkpoints, and the description of the import."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tdw import config
from tdw.config import RunConfig
from tdw.errors import NotImportableError, SettingError
from tdw.interchange import adamw_state, cadence, infer, split_search
from tdw.interchange.epoch_alignment import SURE, Reading, align, by_epoch
from tdw.interchange.source_run import Rule, SourceCheckpoint, SourceRun
from tdw.interchange.split_search import Match
from tdw.interchange.weight_layouts import transposed
from tdw.network.segment import Series, State
from tdw.project.records import ImportedFrom
from tdw.recorded import is_recorded
from tdw.safe_text import cut
from tdw.schedule import text_of
from tdw.tasks import Split

DETERMINED = ("task", "p", "network", "d_model", "heads", "d_mlp", "activation", "biases", "classes")

OF_TRANSFORMERS = ("d_model", "heads", "d_head", "attention_rate")


@dataclass(frozen=True)
class Plan:
    """A run to be written.

    checkpoints: (epoch, weights) in order
    curves:      by name, (epochs + 1,) each, NaN where not recorded
    state:       the state from which training can resume; None if there is none
    imported:    the description of the import
    """

    settings: RunConfig
    split: Split
    checkpoints: list[tuple[int, SourceCheckpoint]]
    curves: dict[str, Series]
    state: State | None
    imported: ImportedFrom


def make_plan(run: SourceRun, hints: dict[str, Any], source: Path) -> Plan:
    """Everything that can be concluded about a run. Raises NotImportableError, SettingError."""
    infer.check_losses(run, source)
    kind, last = infer.read_weights(run)
    settings = infer.merge_settings(run, kind, hints, source)
    cadence.place_train(run, hints, source)
    strides = cadence.possible_strides(run, hints, source)
    epoch_unknown = infer.label_single(run, hints, source)
    guesses = infer.conclude(run, settings, last) if "p" in settings and last is not None else []
    earlier = None if last is None else infer.one_update_earlier(run, settings, last)
    reading, match = _aligned(run, settings, guesses, strides, hints, str(source), earlier)
    if reading.open:
        assert run.train is not None, "several strides are possible for test losses among train losses"
        assert run.test is not None, "there are test losses to place"
        raise cadence.ask("test", len(run.test), len(run.train), reading.open, str(source))
    epoch_offset, test_offset, stride, _ = reading
    run.test_offset = test_offset
    checkpoints = [((checkpoint.label or 0) + epoch_offset, checkpoint) for checkpoint in run.checkpoints]
    epochs = infer.last_epoch(run, checkpoints, stride, source)
    curves = {
        "losses/train": by_epoch(run.train, 1, 0, epochs),
        "losses/test": by_epoch(run.test, stride, run.test_offset, epochs),
        "accuracy/train": by_epoch(run.accuracy.get("train"), 1, 0, epochs),
        "accuracy/test": by_epoch(run.accuracy.get("test"), 1, 0, epochs),
        **{name: by_epoch(curve, 1, 0, epochs) for name, curve in run.curves.items()},
    }
    _report_conversions(run, epoch_offset, stride)
    if match is not None and match.anchors and run.train is not None and len(run.checkpoints) == 1:
        _report_missing(run, curves, checkpoints[-1][0])

    settings["evaluate_every"] = cadence.between(run.test) if run.stepped else stride
    if match is not None:
        settings["train_fraction"] = _fraction(match)
        rule = match.rule or next((one for one in run.rules if _draws(one, match.split)), None)
        if rule is not None:
            settings["data_seed"] = rule.seed
    if settings.get("network") == "one-hot":  # a configuration may state what such a network does not have
        settings = {name: value for name, value in settings.items() if name not in OF_TRANSFORMERS}
    unknown = [
        name
        for name in (*DETERMINED, *infer.OF_TRAINING)
        if name not in settings and not (settings.get("network") == "one-hot" and name in OF_TRANSFORMERS)
    ]
    if last is not None and infer.assume_attention(run, settings, verified=match is not None and match.verified):
        unknown.append("attention_rate")
    if epoch_unknown:
        unknown.append("epoch")
    try:
        run_config = config.configure(**settings, epochs=epochs, checkpoints=text_of(epoch for epoch, _ in checkpoints))
    except SettingError as error:
        raise NotImportableError(
            f"{source} cannot be imported: its settings are not allowed here ({error})."
        ) from error
    state: State | str | None = None
    if last is not None:
        state = adamw_state.state_of(run, run.checkpoints[-1].load(), last, checkpoints[-1][0])
        if isinstance(state, State) and match is None:
            state = "the train/test split is unknown"
        if isinstance(state, State) and not {"lr", "weight_decay", "betas"} <= set(settings):
            state = "its optimizer settings are unknown"
    imported = ImportedFrom(
        source=cut(source.resolve().name or str(source), 200),
        form=run.form,
        split=None if match is None else match.record(),
        assumed=[cut(item, 400) for item in run.assumed],
        inferred=[cut(item, 400) for item in run.inferred],
        converted=[cut(item, 400) for item in run.converted],
        contradicted=[cut(item, 400) for item in run.contradicted],
        unknown=unknown,
        resumable=isinstance(state, State),
        why_not=state if isinstance(state, str) else "it has no weights" if state is None else None,
    )
    split = match.split if match is not None else _placeholder_split(run_config)
    return Plan(run_config, split, checkpoints, curves, state if isinstance(state, State) else None, imported)


def _aligned(
    run: SourceRun,
    settings: dict[str, Any],
    guesses: Sequence[infer.Guess],
    strides: Sequence[int],
    hints: dict[str, Any],
    source: str,
    earlier: SourceCheckpoint | None,
) -> tuple[Reading, Match | None]:
    """The meaning of the labels, and the split. Of several guesses at task and activation, the stored losses decide if with
    exactly one of them the weights have these losses; else they stay unknown. Raises what `align` raises.
    """
    if not guesses:
        return align(run, settings, strides, hints, source, earlier)
    said = len(run.inferred), len(run.contradicted)
    tried: list[tuple[Reading, Match | None, infer.Guess, list[str], list[str]]] = []
    refusal: SettingError | None = None
    found: Match | None = None  # with all guesses the split is the same, so one search is enough
    for guess in guesses if run.has_losses else guesses[:1]:
        try:
            reading, match = align(
                run,
                settings | {"task": guess.task, "activation": guess.activation},
                strides,
                hints,
                source,
                earlier,
                found,
            )
            if match is not None and match.verified and match.error is not None and match.error < SURE:
                found = match
        except SettingError as error:  # a split that was asked for does not fit this guess
            refusal = error
            continue
        finally:
            inferred, contradicted = run.inferred[said[0] :], run.contradicted[said[1] :]
            del run.inferred[said[0] :], run.contradicted[said[1] :]
        tried.append((reading, match, guess, inferred, contradicted))
    if not tried:
        assert refusal is not None
        raise refusal
    fitting = [
        (match.error, at)
        for at, (_, match, *_) in enumerate(tried)
        if match is not None and match.within and match.error is not None
    ]
    fitting.sort()
    decided = bool(fitting) and (len(fitting) == 1 or fitting[0][0] < fitting[1][0] / 3)
    reading, match, guess, inferred, contradicted = tried[fitting[0][1] if decided else 0]
    run.inferred += inferred
    run.contradicted += contradicted
    if decided:
        names = [name for name in ("task", "activation") if name not in settings]
        settings |= {"task": guess.task, "activation": guess.activation}
        run.inferred.append(
            " and ".join(f"{name} {settings[name]}" for name in names) + ": with it the weights have the stored losses"
        )
    else:
        infer.assume(run, settings, guesses)
    return reading, match


def _report_conversions(run: SourceRun, epoch_offset: int, stride: int) -> None:
    """Add sentences about changed epochs and layouts."""
    if run.train is not None and not run.stepped:
        run.converted.append("train loss i of the source was measured before update i + 1: it is at epoch i here")
    if run.checkpoints and epoch_offset and len(run.checkpoints) > 1:
        run.converted.append("weights of epoch e of the source include update e + 1: they are at epoch e + 1 here")
    if run.test is not None and run.test_offset:
        run.converted.append("test loss i of the source was measured after update i + 1: it is at epoch i + 1 here")
    if stride > 1:
        run.converted.append(f"the source has test losses for every {stride}th epoch, starting with epoch 0")
    if run.checkpoints:
        raw = run.checkpoints[-1].load()
        if transposed(raw):
            run.converted.append(
                "weights were transposed to the layout of TransformerLens; the causal mask was left out"
            )
        elif any(name.rsplit(".", 1)[-1] in {"mask", "IGNORE"} for name in raw):
            run.converted.append("masks, IGNORE and zero biases were left out")


def _report_missing(run: SourceRun, curves: Mapping[str, Series], epoch: int) -> None:
    """Say which losses the last weights lack."""
    missing = [side for side in ("train", "test") if not is_recorded(curves[f"losses/{side}"])[epoch]]
    if len(missing) == 2:
        run.converted.append("the source did not record the losses of its last weights: they are missing here")
    elif missing:
        run.converted.append(f"the source did not record the {missing[0]} loss of its last weights: it is missing here")


def _fraction(match: Match) -> float:
    """A training fraction for which the settings give exactly the number of train pairs of the split."""
    train, pairs = len(match.split.train), len(match.split.train) + len(match.split.test)
    candidates = [
        *([match.rule.fraction] if match.rule else []),
        round(train / pairs, 2),
        train / pairs,
        (train + 0.5) / pairs,
    ]
    return next(fraction for fraction in candidates if 0 < fraction < 1 and int(fraction * pairs) == train)


def _draws(rule: Rule, split: Split) -> bool:
    """Whether a rule draws this split."""
    drawn = split_search.draw(rule, len(split.train) + len(split.test))
    return set(drawn.train.tolist()) == set(split.train.tolist())


def _placeholder_split(run_config: RunConfig) -> Split:
    """The split stored if it is unknown: pairs in order. `Project.known_split` is None then."""
    pairs = np.arange(run_config.p**2)
    return Split(pairs[: run_config.train_pairs], pairs[run_config.train_pairs :])
