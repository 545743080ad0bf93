"""Somebody else's run becomes a project file: what its source says is read, the rest inferred, checked and written down.

Nothing is written before every checkpoint was read and accepted; then into a file beside, which takes its name when it is
whole. Checkpoints are read one by one, twice.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from tdw import config
from tdw.config import RunConfig, TaskConfig
from tdw.errors import AlreadyExistsError, CannotWriteError, NotImportableError, SettingError, UnknownNameError
from tdw.interchange import adamw_state, split_search
from tdw.interchange.epoch_alignment import matched, placed
from tdw.interchange.importers import legacy_workbench, state_dicts
from tdw.interchange.importers.nanda import STRIDES
from tdw.interchange.source_run import RULES, Foreign, Piece, Rule
from tdw.interchange.split_search import Match, pair_losses
from tdw.interchange.weight_layouts import MLP_BIASES, Kind, read, transposed, without_zero_biases
from tdw.network.segment import Arrays, Segment, Series, State
from tdw.project.writer import ProjectWriter
from tdw.safe_text import cut, visible
from tdw.schedule import text_of
from tdw.setting import value_of
from tdw.store.atomic import new_file
from tdw.tasks import TASKS, Split, answers

HINTS = ("p", "task", "activation", "split_rule", "data_seed", "train_fraction", "test_stride", "epoch")
DETERMINED = ("task", "p", "network", "d_model", "heads", "d_mlp", "activation", "biases", "classes")
OF_TRAINING = ("model_seed", "data_seed", "train_fraction", "lr", "weight_decay", "betas", "warmup")
MOST_EPOCHS = 10_000_000
ROUNDING = 1e-6  # by which a cross-entropy of 0 may come out below it


def import_run(source: str | Path, path: str | Path, *, overwrite: bool = False, **hints: Any) -> dict[str, Any]:
    """Make a project file of a file or folder of another program. Returns what `Project.imported` then says.

    hints: what the source does not say and the user knows; see `HINTS`. They are held against what it does say.
    Raises NotImportableError, SettingError for a hint that cannot be, AlreadyExistsError (unless `overwrite`) and CannotWrite;
    nothing is left behind then.
    """
    source, path = Path(source), Path(path)
    known = _checked(hints)
    _refuse_target(source, path, overwrite=overwrite)
    found = find(source)
    plan = _concluded(found, known, source)
    _write(plan, path, overwrite=overwrite)
    return plan.imported


def find(source: Path) -> Foreign:
    """What a file or folder holds. Raises NotImportableError."""
    try:
        if not source.is_dir():
            return state_dicts.read_file(source)
        if source.name == "checkpoints" and legacy_workbench.is_legacy_folder(source.parent):
            source = source.parent  # the run that these checkpoints are of says more about them
        return (
            legacy_workbench.read(source)
            if legacy_workbench.is_legacy_folder(source)
            else state_dicts.read_folder(source)
        )
    except OSError as error:
        raise NotImportableError(f"{source} cannot be imported: it cannot be read ({error.strerror}).") from error


def _checked(hints: dict[str, Any]) -> dict[str, Any]:
    """The hints that were given, as values. Raises SettingError, UnknownNameError."""
    known = {item.name: item for item in config.settings()}
    given: dict[str, Any] = {}
    for name, value in hints.items():
        if name not in HINTS:
            raise UnknownNameError("hint", name, HINTS)
        if value is None:
            continue
        if name == "split_rule":
            if value not in RULES:
                raise SettingError(name, f"--split-rule must be one of {', '.join(RULES)} (got {cut(str(value))})")
            given[name] = value
        elif name in {"test_stride", "epoch"}:
            least = int(name == "test_stride")
            try:
                given[name] = int(value)
            except (TypeError, ValueError):
                given[name] = -1
            if not least <= given[name] <= MOST_EPOCHS:
                raise SettingError(
                    name,
                    f"--{name.replace('_', '-')} must be an integer from {least} to {MOST_EPOCHS} (got {cut(str(value))})",
                )
        else:
            given[name] = value_of(known[name], value)
    if ("split_rule" in given or "train_fraction" in given) and "data_seed" not in given:
        raise SettingError(
            "data_seed", "a split is known by its seed and its share of train pairs: give --data-seed as well"
        )
    if "data_seed" in given and "train_fraction" not in given:
        raise SettingError(
            "train_fraction", "a split is known by its seed and its share of train pairs: give --train-fraction as well"
        )
    return given


def _refuse_target(source: Path, path: Path, *, overwrite: bool) -> None:
    if path.is_dir():
        raise CannotWriteError(f"{path} cannot be written: it is a folder. Give the name of a file in it.")
    if not path.absolute().parent.is_dir():
        raise CannotWriteError(
            f"{path} cannot be written: there is no folder {path.parent}. Make it first, or give another."
        )
    if os.path.lexists(path) and not overwrite:
        raise AlreadyExistsError(
            f"{path} is there already and was left as it is: choose another name, or --force to replace it."
        )
    with contextlib.suppress(OSError):
        if path.exists() and source.exists() and path.samefile(source):
            raise AlreadyExistsError(f"{path} is what is to be imported: choose another name.")


@dataclass(frozen=True)
class _Plan:
    """A run as it will be written. series: train and test loss, one entry an epoch; pieces: (epoch here, weights)."""

    settings: RunConfig
    split: Split
    pieces: list[tuple[int, Piece]]
    series: tuple[Series, Series]
    state: State | None
    imported: dict[str, Any]


def _concluded(found: Foreign, known: dict[str, Any], source: Path) -> _Plan:
    """Everything that can be said of a run. Raises NotImportableError, SettingError."""
    _check_losses(found, source)
    kind, last = _examined(found)
    settings = _settled(found, kind, known, source)
    strides = _strides(found, known, source)
    unsaid = _label_single(found, known, source)
    if "p" in settings and last is not None:
        _infer_task(found, settings, last)
    earlier = None if last is None else _one_update_earlier(found, settings, last)
    (late, late_test, stride), match = matched(found, settings, strides, known, str(source), earlier)
    found.late_test = late_test
    pieces = [((piece.label or 0) + late, piece) for piece in found.pieces]
    epochs = _length(found, pieces, stride, source)
    series = (placed(found.train, 1, 0, epochs), placed(found.test, stride, found.late_test, epochs))
    _tell_conversion(found, late, stride, match)

    settings["evaluate_every"] = stride
    if match is not None:
        settings["train_fraction"] = _fraction(match)
        rule = match.rule or next((one for one in found.rules if _draws(one, match.split)), None)
        if rule is not None:
            settings["data_seed"] = rule.seed
    unknown = [name for name in (*DETERMINED, *OF_TRAINING) if name not in settings]
    if unsaid:
        unknown.append("epoch")
    try:
        run = config.configure(**settings, epochs=epochs, checkpoints=text_of(epoch for epoch, _ in pieces))
    except SettingError as error:
        raise NotImportableError(
            f"{source} cannot be imported: its settings are none that this program allows ({error})."
        ) from error
    state: State | str | None = None
    if last is not None:
        state = adamw_state.state_of(found, found.pieces[-1].load(), last, pieces[-1][0])
        if isinstance(state, State) and match is None:
            state = "nobody knows which pairs were trained on"
        if isinstance(state, State) and not {"lr", "weight_decay", "betas"} <= set(settings):
            state = "settings of its training are not known"
    imported = {
        "source": cut(source.resolve().name or str(source), 200),
        "form": found.form,
        "split": None if match is None else match.to_json(),
        "inferred": [cut(item, 400) for item in found.inferred],
        "converted": [cut(item, 400) for item in found.converted],
        "contradicted": [cut(item, 400) for item in found.contradicted],
        "unknown": unknown,
        "resumable": isinstance(state, State),
        "why_not": state if isinstance(state, str) else "it has no weights" if state is None else None,
    }
    split = match.split if match is not None else _any_split(run)
    return _Plan(run, split, pieces, series, state if isinstance(state, State) else None, imported)


def _one_update_earlier(found: Foreign, settings: dict[str, Any], last: Arrays) -> Piece | None:
    """The last weights before their last update, where the optimizer tells; else None."""
    piece = found.pieces[-1]
    if piece.label is None or not {"lr", "weight_decay", "betas"} <= set(settings):
        return None
    if piece.label - 1 in {other.label for other in found.pieces} or piece.label + found.late < 1:
        return None
    state = adamw_state.state_of(found, piece.load(), last, piece.label + found.late)
    if not isinstance(state, State):
        return None
    weights = adamw_state.undone(state, settings)
    return Piece(piece.label - 1, lambda: weights, f"{piece.what} before its last update")


def _examined(found: Foreign) -> tuple[Kind, Arrays | None]:
    """Reads every set of weights once: what they are of, the same for all, and the last of them. Raises NotImportableError."""
    kind: Kind = {}
    arrays: Arrays | None = None
    biased = False
    labels: set[int | None] = set()
    for piece in found.pieces:
        if piece.label in labels:
            raise NotImportableError(
                f"{piece.what} cannot be imported: another checkpoint is of epoch {piece.label} as well."
            )
        labels.add(piece.label)
        raw = piece.load()
        arrays, this = read(raw, piece.what)
        biased |= transposed(raw) or any(np.any(arrays[name]) for name in MLP_BIASES if name in arrays)
        if kind and (differs := next((name for name in kind if kind[name] != this[name]), None)) is not None:
            raise NotImportableError(
                f"{piece.what} cannot be imported: its {differs} is {this[differs]}, and that of the others is {kind[differs]}."
            )
        kind = this
    if arrays is None:
        return {}, None
    if not biased:
        kind["biases"] = "none"
        arrays = without_zero_biases(arrays)
    elif kind["biases"] == "mlp" and not transposed(found.pieces[-1].load()):
        found.inferred.append("the biases of the MLP were trained: they are not zero")
    return kind, arrays


def _settled(found: Foreign, kind: Kind, known: dict[str, Any], source: Path) -> dict[str, Any]:
    """The settings that source and hints say, sizes of the weights before all others. Raises NotImportableError, SettingError."""
    settings = dict(found.settings) | adamw_state.settings_of(found)
    allowed = {item.name: item for item in config.settings()}
    for name in OF_TRAINING:
        try:
            if name in settings:
                value_of(allowed[name], settings[name])
        except SettingError as error:
            found.contradicted.append(f"{name} there is none that this program allows ({error})")
            del settings[name]
    for name, said in found.claims.items():
        if name in kind and kind[name] != said:
            found.contradicted.append(
                f"the config there says {name} {said}, and the weights have {kind[name]}: the weights are right"
            )
    settings |= kind or found.claims
    if kind:
        found.inferred.append(
            f"p = {kind['p']}, d_model {kind['d_model']}, {kind['heads']} heads of {kind['d_head']}, d_mlp {kind['d_mlp']} "
            "by the shapes of the weights"
        )
    for name in ("p", "task", "activation"):
        if name not in known:
            continue
        if name == "p" and kind and kind["p"] != known["p"]:
            raise SettingError("p", f"--p {known['p']} cannot be: the weights in {source.name} are of p = {kind['p']}")
        if name in found.settings and found.settings[name] != known[name]:
            found.contradicted.append(
                f"the source says {name} {found.settings[name]}, and it was imported as {known[name]}, as asked"
            )
        settings[name] = known[name]
    return settings


def _check_losses(found: Foreign, source: Path) -> None:
    """Leaves out what can be no loss. Raises NotImportableError where nothing is left, or the losses are of another kind."""
    for side in ("train", "test"):
        losses: Series | None = getattr(found, side)
        if losses is None:
            continue
        if (negative := losses[losses < -ROUNDING]).size:
            raise NotImportableError(
                f"{source} cannot be imported: among its {side} losses is {negative[0]:g}, and a cross-entropy is never "
                "negative."
            )
        if infinite := int(np.isinf(losses).sum()):
            found.converted.append(
                f"{infinite} {side} loss{'es' if infinite > 1 else ''} there {'are' if infinite > 1 else 'is'} infinite, and left open here"
            )
            losses[np.isinf(losses)] = np.nan
        if np.isnan(losses).all():
            setattr(found, side, None)
    if found.train is None and found.test is None and not found.pieces:
        raise NotImportableError(f"{source} cannot be imported: it holds neither weights nor a loss that is a number.")


def _strides(found: Foreign, known: dict[str, Any], source: Path) -> list[int]:
    """How many epochs may lie between two test losses, likely ones first. Raises NotImportableError, SettingError."""
    asked = known.get("test_stride")
    if found.train is None or found.test is None or len(found.test) >= len(found.train):
        if asked not in {None, 1} and (found.test is None or found.train is not None):
            raise SettingError(
                "test_stride",
                f"--test-stride {asked} makes no sense: {source.name} has a test loss for every epoch, or none",
            )
        return [asked or 1]
    epochs, count = len(found.train), len(found.test)
    if not count:
        found.test = None
        return [1]
    if asked is not None:
        if (count - 1) * asked > epochs:
            raise SettingError(
                "test_stride",
                f"--test-stride {asked} cannot be: {count} test losses that far apart are more than the {epochs} epochs",
            )
        return [asked]
    fits = [k for k in range(1, epochs + 1) if count in {epochs // k, -(-epochs // k)}] if count > 1 else []
    fits.sort(key=lambda k: STRIDES.index(k) if k in STRIDES else len(STRIDES) + k)
    if not fits:
        raise NotImportableError(
            f"{source} cannot be imported: it has {count} test losses for {epochs} epochs, which fits no even distance: give --test-stride."
        )
    return fits[:3]


def _label_single(found: Foreign, known: dict[str, Any], source: Path) -> bool:
    """Gives the only weights of a file their epoch; whether nobody said it. Raises SettingError."""
    asked = known.get("epoch")
    single = len(found.pieces) == 1 and found.train is None and found.optimizer is None
    if asked is not None:
        if not single:
            raise SettingError(
                "epoch",
                f"--epoch {asked} makes no sense: {source.name} says itself after how many updates its weights are",
            )
        found.pieces = [Piece(asked - found.late, found.pieces[0].load, found.pieces[0].what)]
    elif single and found.pieces[0].label is None:
        found.inferred.append(
            "the file does not say after how many updates its weights are: they stand at epoch 1; --epoch says better"
        )
        # Not at 0, which would say that they are untrained.
        found.pieces = [Piece(1 - found.late, found.pieces[0].load, found.pieces[0].what)]
        return True
    return False


def _infer_task(found: Foreign, settings: dict[str, Any], weights: Arrays) -> None:
    """Infer the task and the activation function with which the last weights answer correctly, where they are unknown."""
    learnable = [
        task.name for task in TASKS.values() if task.answer is not None and task.refusal(settings["p"]) is None
    ]
    tasks = [settings["task"]] if "task" in settings else learnable
    acts = [settings["activation"]] if "activation" in settings else list(config.ACTIVATIONS)
    if len(tasks) == len(acts) == 1:
        return
    p = settings["p"]
    rights: dict[tuple[str, str], int] = {}
    for act in acts:
        said, _ = pair_losses(weights, act, [TaskConfig(p=p)])
        for task in tasks:
            rights[task, act] = int((said == answers(np.arange(p * p), TaskConfig(task=task, p=p))).sum())
    (task, act), most = max(rights.items(), key=lambda item: item[1])
    chance, spread = p, np.sqrt(p)  # of p * p guesses, about p are right
    clear = most > chance + 8 * spread and all(
        most > chance + 2 * (count - chance) or one == (task, act) or one[0] == task for one, count in rights.items()
    )
    if clear:
        if "task" not in settings:
            settings["task"] = task
            found.inferred.append(f"task {task}: {most / p**2:.1%} of all answers are right")
        if "activation" not in settings:
            plain = rights.get((task, "relu"), 0)
            if plain >= 0.9 * most:
                act = "relu"
            settings["activation"] = act
            found.inferred.append(f"activation {act}: {rights[task, act] / p**2:.1%} of all answers are right with it")


def _length(found: Foreign, pieces: Sequence[tuple[int, Piece]], stride: int, source: Path) -> int:
    """The last epoch of the run: of its losses or of its weights."""
    train = 0 if found.train is None else len(found.train) - 1
    test = 0 if found.test is None else (len(found.test) - 1) * stride + found.late_test
    last = max(1, train, test, pieces[-1][0] if pieces else 0)
    if last > MOST_EPOCHS:
        raise NotImportableError(
            f"{source} cannot be imported: it says that it has {last} epochs, and a run here has at most {MOST_EPOCHS}."
        )
    return last


def _tell_conversion(found: Foreign, late: int, stride: int, match: Match | None) -> None:
    """Says what was done to epochs and layouts."""
    if found.train is not None:
        found.converted.append("train loss i there was measured before update i + 1: it is that of epoch i here")
    if found.pieces and late and len(found.pieces) > 1:
        found.converted.append(
            "weights of epoch e there contain update e + 1 already: they are those of epoch e + 1 here"
        )
    if found.test is not None and found.late_test:
        found.converted.append("test loss i there was measured after update i + 1: it is that of epoch i + 1 here")
    if stride > 1:
        found.converted.append(f"test losses there are of every {stride}th epoch, beginning with epoch 0")
    if found.pieces:
        raw = found.pieces[-1].load()
        if transposed(raw):
            found.converted.append(
                "weights lay transposed there, and lie as in TransformerLens here; the causal mask was left out"
            )
        elif any(name.rsplit(".", 1)[-1] in {"mask", "IGNORE"} for name in raw):
            found.converted.append("masks, IGNORE and biases that are zero were left out")
    if match is not None and match.anchors and found.train is not None and len(found.pieces) == 1:
        found.converted.append(
            "the losses of the last weights themselves were not recorded there, and are left open here"
        )


def _fraction(match: Match) -> float:
    """A share of train pairs of which the settings make exactly as many as there are."""
    train, pairs = len(match.split.train), len(match.split.train) + len(match.split.test)
    shares = [
        *([match.rule.fraction] if match.rule else []),
        round(train / pairs, 2),
        train / pairs,
        (train + 0.5) / pairs,
    ]
    return next(share for share in shares if 0 < share < 1 and int(share * pairs) == train)


def _draws(rule: Rule, split: Split) -> bool:
    """Whether a rule draws this split."""
    drawn = split_search.draw(rule, len(split.train) + len(split.test))
    return set(drawn.train.tolist()) == set(split.train.tolist())


def _any_split(run: RunConfig) -> Split:
    """What is stored as a split where nobody knows it: pairs in their order. `Project.known_split` is None then."""
    pairs = np.arange(run.p**2)
    return Split(pairs[: run.train_pairs], pairs[run.train_pairs :])


def _segments(plan: _Plan) -> Iterator[Segment]:
    """The run, stretch by stretch, each ending with a checkpoint; what comes after the last one at the end."""
    series, start = plan.series, 0
    nothing = State(0, {}, {})
    biased = plan.settings.biases == "mlp"

    def stretch(stop: int, state: State, *, keep: bool) -> Segment:
        open_ = np.full(stop + 1 - start, np.nan)
        train, test = (values[start : stop + 1] for values in series)
        return Segment(range(start, stop + 1), train, test, open_, open_, state, keep)

    for epoch, piece in plan.pieces:
        arrays, _ = read(piece.load(), piece.what)
        if plan.state is not None and epoch == plan.state.epoch:
            state = plan.state
        else:
            state = State(epoch, arrays if biased else without_zero_biases(arrays), {})
        yield stretch(epoch, state, keep=True)
        start = epoch + 1
    if start <= plan.settings.epochs:
        yield stretch(plan.settings.epochs, nothing, keep=False)


def _write(plan: _Plan, path: Path, *, overwrite: bool) -> None:
    """The project file, whole or not at all."""
    epochs = [epoch for epoch, _ in plan.pieces]
    with (
        new_file(path, overwrite=overwrite) as part,
        ProjectWriter.create_imported(part, plan.settings, epochs, plan.split, plan.imported, known_as=path) as writer,
    ):
        for segment in _segments(plan):
            writer.append(segment)


def summary(imported: dict[str, Any]) -> str:
    """What an import found, in one sentence."""
    split = imported["split"]
    known = "which pairs were trained on is not known"
    if split is not None:
        seed = "" if split["seed"] is None else f", seed {split['seed']}"
        known = f"{split['train']} of {split['train'] + split['test']} pairs trained on{seed}"
        if split["error"] is not None:
            known += f", losses within {np.expm1(split['error']):.1g} of the stored ones"
    parts = [f"imported from {visible(imported['source'])}, {imported['form']}", known]
    if imported["contradicted"]:
        parts.append(f"contradictions: {len(imported['contradicted'])}")
    if imported["unknown"]:
        parts.append(f"not known: {', '.join(imported['unknown'])}")
    if not imported["resumable"]:
        parts.append("it cannot be trained further")
    return "; ".join(parts)
