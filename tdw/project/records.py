"""What a project file stores as JSON, as typed records: the description of a run and its notes.

A record is checked when it is read. Keys that this version does not know belong to newer ones: they are ignored here, and
kept where a record is written again (`Record.to_json`).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Self

import msgspec

from tdw import config
from tdw.config import RunConfig
from tdw.errors import NewerFormatError, SettingError, UnknownNameError
from tdw.project import edits
from tdw.safe_text import cut
from tdw.setting import as_text

ID_LENGTH = 100


PLAUSIBLE = re.compile(r"[a-z][a-z0-9_+-]{1,40}")  # a name or a choice that a newer version may have


class RecordError(ValueError):
    """A stored record is not of its form; the message is a clause such as "it has no settings"."""


class NewerRecordError(RecordError):
    """The description names something that only a newer version of the program has."""

    def told(self, path: Path) -> NewerFormatError:
        """The error for a file with it."""
        return NewerFormatError(f"{path} was made by a newer version of tdw: {self}. Update tdw to open it.")


class Record(msgspec.Struct, frozen=True, kw_only=True, dict=True):
    """A stored JSON object. Create one by its fields, or from a file by `of`."""

    @classmethod
    def of(cls, stored: object) -> Self:
        """The record from its JSON. Raises msgspec.ValidationError for a missing field or a wrong type."""
        record = msgspec.convert(stored, cls)
        vars(record)["stored"] = stored
        return record

    def to_json(self) -> dict[str, Any]:
        """The JSON of the record: as it was stored, unknown keys included, if it comes from a file."""
        stored: dict[str, Any] = vars(self).get("stored") or msgspec.to_builtins(self)
        return dict(stored)


class Drift(Record, frozen=True, kw_only=True):
    """Recorded epochs that did not come out the same when they were computed again.

    series, epoch: the curve and the epoch of the first difference
    stored, recomputed: its values there; None for one that is not finite, which JSON lacks
    epochs: how many differ
    """

    series: str
    epoch: int
    stored: float | None
    recomputed: float | None
    epochs: int = 1

    def sentence(self, then: Environment, here: Environment) -> str:
        """The values that differ, and what differs between the environments that recorded and recomputed them."""
        before, now = then.place, here.place
        names = sorted(name for name in {**before, **now} if before.get(name) != now.get(name))
        recorded, computed = (
            " under " + ", ".join(f"{name} {str(side.get(name, 'unknown'))[:80]}" for name in names)
            for side in (before, now)
        )
        if not names:
            recorded, computed = "", " in the same environment"
        others = f" ({self.epochs} recomputed epochs differ)" if self.epochs != 1 else ""
        was, came = ("not finite" if value is None else value for value in (self.stored, self.recomputed))
        return f"{self.series[:80]} at epoch {self.epoch} was stored as {was}{recorded}, and recomputed as {came}{computed}{others}"


class Environment(Record, frozen=True, kw_only=True, omit_defaults=True):
    """Software and hardware that trained a run from epoch `from_epoch` on.

    pairs_at_once: pairs that were computed at a time, on which the last digits of sums depend; 0 for all, as before 0.2
    drift: where training continued although it did not reproduce recorded epochs. program: what wrote an imported run.
    """

    from_epoch: int
    torch: str | None = None
    numpy: str | None = None
    python: str | None = None
    platform: str | None = None
    processor: str | None = None
    device: str | None = None
    threads: int | None = None
    cores: int | None = None
    dtype: str | None = None
    mkl_cbwr: str | None = None
    pairs_at_once: Annotated[int, msgspec.Meta(ge=0)] = 0
    program: str | None = None
    drift: Drift | None = None

    @property
    def place(self) -> dict[str, Any]:
        """Everything but the epoch and the drift: equal where results are equal bit for bit."""
        return {name: value for name, value in self.to_json().items() if name not in {"from_epoch", "drift"}}


class ImportedSplit(Record, frozen=True, kw_only=True):
    """How the split of an imported run was found: the rule that draws it, and how well it reproduces the stored losses.

    fraction: of all pairs that are train pairs. train, test: numbers of pairs. seed: None where the rule has none.
    error: the largest difference between the logarithms of a computed and a stored loss; None if not compared
    chance: the expected number of other splits that are as close by chance. compared_at: epochs of compared checkpoints
    """

    rule: str
    seed: int | None = None
    fraction: float
    train: int
    test: int
    error: float | None = None
    chance: float | None = None
    compared_at: list[int] = []


class ImportedFrom(Record, frozen=True, kw_only=True):
    """The origin of a run of another program.

    source, form: name of its file or folder, and which form it has
    split: None if the train/test split is unknown
    assumed: sentences about settings that nothing decides, and what is taken for them
    inferred, converted, contradicted: sentences about what was concluded, changed, and found to disagree
    unknown: names of settings whose stored values are placeholders
    resumable: whether training can be resumed; why_not: the reason if not
    """

    source: str
    form: str
    split: ImportedSplit | None = None
    assumed: list[str] = []
    inferred: list[str]
    converted: list[str]
    contradicted: list[str]
    unknown: list[str]
    resumable: bool
    why_not: str | None = None


class BranchedFrom(Record, frozen=True, kw_only=True, omit_defaults=True):
    """The run that this one was branched from.

    run, file: its id and the name of its file. at: the epoch of the branch
    settings, optimizer_from, branched: those of that run
    edits: what was done to its state at that epoch, in order; see `tdw.project.edits`
    """

    run: str = msgspec.field(name="from")
    file: str
    at: int
    settings: dict[str, Any]
    optimizer_from: int
    branched: BranchedFrom | None
    edits: list[dict[str, Any]] = []

    @property
    def config(self) -> RunConfig:
        """The settings of that run, without those that only a newer version has."""
        newer = newer_settings(self.settings)
        return config.from_json({name: value for name, value in self.settings.items() if name not in newer})

    @property
    def history(self) -> list[BranchedFrom]:
        """This fork and those of the origins that are part of the run's history, the first one first."""
        found: list[BranchedFrom] = []
        fork: BranchedFrom | None = self
        while fork is not None:
            if not found or fork.at <= found[-1].at:  # one later than that is of a future that the run does not share
                found.append(fork)
            fork = fork.branched
        return found[::-1]

    @property
    def edited(self) -> list[tuple[int, str]]:
        """How the state was edited in this fork and in those of the origins: the epoch and a sentence for each edit, in order."""
        return [(fork.at, sentence) for fork in self.history for sentence in edits.sentences(fork.edits)]

    def summary(self, after: RunConfig) -> dict[str, Any]:
        """What the page shows of it: the epoch, whether the state was edited, and `sentences`."""
        return {"at": self.at, "is_edited": bool(self.edited), "sentences": self.sentences(after)}

    def sentences(self, after: RunConfig) -> list[str]:
        """Which run this one was forked from, what it does otherwise, and how its state was edited. after: its settings"""
        before = {item.name: value for item, value in self.config.items()}
        changed = [
            f"{item.name.replace('_', ' ')} {as_text(value)}"
            + (f" instead of {as_text(before[item.name])}" if item.name in before else "")
            for item, value in after.items()
            if item.name not in ("epochs", "checkpoints") and before.get(item.name) != value
        ]
        line = f"forked from {cut(self.file)} at epoch {self.at}"
        return [
            f"{line}: {', '.join(changed)}" if changed else line,
            *(f"edited at epoch {epoch}: {sentence}" for epoch, sentence in self.edited),
        ]


class Diverged(Record, frozen=True, kw_only=True):
    """Where training ended because a loss was not finite: the epoch, and its side (train or test)."""

    epoch: int
    side: str

    @property
    def sentence(self) -> str:
        """What happened, and where."""
        return f"training diverged at epoch {self.epoch}: {self.side[:80]} loss is not finite"


class RecoveredFrom(Record, frozen=True, kw_only=True):
    """The damaged file that a run was recovered from: its name, and a sentence for each damage."""

    file: str = msgspec.field(name="from")
    damage: list[str]


class Notes(Record, frozen=True, kw_only=True):
    """The user's notes on a run."""

    title: str = ""
    tags: list[str] = []
    remark: str = ""


@dataclass(frozen=True)
class Description:
    """The description of a run.

    plan: epochs of all checkpoints, stored or planned
    environments: those in which the run was trained, in order
    optimizer_from: the epoch at which the optimizer started, all its slots zero
    newer: names of settings and edits that only a newer version of the program has
    """

    id: str
    settings: RunConfig
    plan: list[int]
    environments: list[Environment]
    optimizer_from: int
    branched: BranchedFrom | None
    imported: ImportedFrom | None
    recovered: RecoveredFrom | None
    diverged: Diverged | None
    newer: tuple[str, ...] = ()

    @classmethod
    def of(cls, stored: Mapping[str, Any]) -> Self:
        """The description from its JSON. Raises RecordError, NewerRecordError."""
        run_id = _part(stored, "id", str, "it has no valid run id")
        if not 1 <= len(run_id) <= ID_LENGTH:
            raise RecordError("it has no valid run id")
        settings = _part(stored, "settings", dict[str, Any], "it has no settings")
        known, newer = {item.name: item for item in config.settings()}, newer_settings(settings)
        try:
            checked = config.from_json({name: value for name, value in settings.items() if name not in newer})
        except (SettingError, UnknownNameError) as error:
            setting = known.get(getattr(error, "setting", ""))
            given = settings.get(setting.name) if setting is not None else None
            if setting is not None and setting.choices and isinstance(given, str) and PLAUSIBLE.fullmatch(given):
                raise NewerRecordError(f"{setting.flag} {given} is not known here") from error
            raise RecordError(f"its settings are invalid ({error})") from error
        branched, newer_before = _branched(stored)
        return cls(
            id=run_id,
            settings=checked,
            plan=_part(stored, "plan", list[int], "it has no list of planned checkpoints"),
            environments=_environments(stored.get("environments")),
            optimizer_from=_part(stored, "optimizer_from", int, "its optimizer starts at an impossible epoch", 0),
            branched=branched,
            imported=_record(stored, "imported", ImportedFrom, "the description of its import is invalid"),
            recovered=_record(
                stored, "recovered", RecoveredFrom, "the description of the file it was recovered from is invalid"
            ),
            diverged=_record(stored, "diverged", Diverged, "the description of where it diverged is invalid"),
            newer=tuple(dict.fromkeys([*newer, *newer_before])),
        )


def newer_settings(settings: Mapping[str, Any]) -> list[str]:
    """The names of settings that only a newer version of the program can have."""
    known = {item.name for item in config.settings()}
    return [name for name in settings if name not in known and PLAUSIBLE.fullmatch(name)]


def _part(stored: Mapping[str, Any], name: str, kind: Any, problem: str, default: Any = None) -> Any:
    try:
        return msgspec.convert(stored.get(name, default), kind)
    except (msgspec.ValidationError, RecursionError) as error:
        raise RecordError(problem) from error


def _record(stored: Mapping[str, Any], name: str, kind: type[Record], problem: str) -> Any:
    try:
        return None if stored.get(name) is None else kind.of(stored[name])
    except (msgspec.ValidationError, RecursionError) as error:
        raise RecordError(problem) from error


def _branched(stored: Mapping[str, Any]) -> tuple[BranchedFrom | None, list[str]]:
    """The run it was branched from, and the names of settings and edits, of it or its origins, that only a newer version has."""
    problem = "the description of the run it was branched from is invalid"
    newer: list[str] = []
    origin = branched = _record(stored, "branched", BranchedFrom, problem)
    while origin is not None:
        newer += newer_settings(origin.settings)
        for edit in origin.edits:
            name = edit.get("edit")
            try:
                if edits.of_json(edit) is None and not (isinstance(name, str) and PLAUSIBLE.fullmatch(name)):
                    raise RecordError(problem)
            except msgspec.ValidationError as error:
                raise RecordError(problem) from error
            newer += [f"edit {name}"] * (name not in edits.EDITS)
        origin = origin.branched
    return branched, newer


def _environments(stored: object) -> list[Environment]:
    if not isinstance(stored, list) or not stored:
        raise RecordError("it does not record where it was trained")
    try:
        return [Environment.of(item) for item in stored]
    except (msgspec.ValidationError, RecursionError) as error:
        raise RecordError("it does not record where it was trained") from error
