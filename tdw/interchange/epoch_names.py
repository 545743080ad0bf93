"""Epochs in the names of files: of checkpoints of one run, which differ in nothing else.

Names hold other numbers as well, such as losses, dates, sizes and random ids. So a number counts as the epoch only in a known
form (`epoch=12-step=300`, `checkpoint-500`, `ckpt_00100`), by a template that the user gives, or if it is the only thing in
which the names differ.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

from tdw.errors import NotImportableError, SettingError
from tdw.interchange.source_run import MOST_EPOCHS
from tdw.safe_text import cut

#: Words before an epoch, those that say it most clearly first. A number of updates is what an epoch is here, so of
#: `epoch=1-step=300` the step counts, unless it repeats.
WORDS = (("step", "global_step", "iter", "iteration", "it"), ("epoch", "ep"), ("checkpoint", "ckpt", "chkpt"))
#: Words before numbers that tell runs apart, or what a run had reached.
OTHER = re.compile(
    r"(?:^|[^a-z])(?:loss|acc|accuracy|err|error|seed|lr|wd|run|trial|fold|rank|v|version|p|mod|width|size)[=_\- ]?$",
    re.IGNORECASE,
)
DATE = re.compile(r"(?<!\d)(?:19|20)\d\d[-_.]?(?:0[1-9]|1[0-2])[-_.]?(?:0[1-9]|[12]\d|3[01])(?!\d)")
TO_LETTERS = str.maketrans("0123456789", "abcdefghij")
SHOWN = 3


def epochs_of(files: Sequence[Path], template: str | None = None) -> dict[Path, int]:
    """The epoch of each file by its name. template: as `--epochs-from`, such as "{epoch}_loss".

    Raises NotImportableError where the names do not tell it, SettingError for a template without {epoch}.
    """
    stems = [file.stem for file in files]
    if template is not None:
        found = [_by_template(stem, template) for stem in stems]
        if None in found:
            stem = stems[found.index(None)]
            raise SettingError("epochs_from", f"--epochs-from {template} does not fit the name {stem}")
    else:
        found = next((one for one in (*map(_worded(stems), WORDS), _varying(stems)) if _is_distinct(one)), [])
        if not found:
            raise NotImportableError(
                f"{files[0].parent} cannot be imported: the names of its files ({_list(stems)}) do not tell their epochs. "
                'State where the epoch is in a name, as in --epochs-from "{epoch}_loss", or import one file alone.'
            )
    epochs = [int(text or 0) for text in found]
    labeled: dict[int, Path] = {}
    for epoch, file in zip(epochs, files, strict=True):
        if epoch in labeled:
            raise NotImportableError(
                f"{file.parent} cannot be imported: {labeled[epoch].name} and {file.name} both have epoch {epoch}."
            )
        labeled[epoch] = file
        if epoch > MOST_EPOCHS:
            raise NotImportableError(
                f"{file.parent} cannot be imported: the name of {file.name} gives epoch {epoch}, but a run can have at most "
                f"{MOST_EPOCHS}."
            )
    return dict(zip(files, epochs, strict=True))


def epoch_of(stem: str) -> int | None:
    """The epoch in the name of a single file: in a known form, or the whole name; else None.

    >>> epoch_of("epoch_300"), epoch_of("5000"), epoch_of("loss_0.25"), epoch_of("resnet50")
    (300, 5000, None, None)
    """
    for found in (*map(_worded([stem]), WORDS), [stem if re.fullmatch(r"\d{1,8}", stem) else None]):
        if found[0] is not None:
            return int(found[0])
    return None


def mapping(epochs: dict[Path, int]) -> str:
    """Which name became which epoch, in a sentence."""
    return f"the epochs of the checkpoints are numbers in the file names: {listed(epochs)}"


def listed(epochs: Mapping[Path, int]) -> str:
    """Names with their epochs, `a is epoch 1, b is epoch 2`; a few of many."""
    ordered = sorted(epochs.items(), key=lambda item: item[1])
    shown = ordered if len(ordered) <= SHOWN + 1 else [*ordered[:SHOWN], ordered[-1]]
    texts = [f"{cut(file.name, 60)} is epoch {epoch}" for file, epoch in shown]
    if len(shown) < len(ordered):
        texts.insert(SHOWN, "…")
    return ", ".join(texts)


def _worded(stems: Sequence[str]) -> Callable[[Iterable[str]], list[str | None]]:
    """A function that finds the number after one of several words in every name; decimals are none."""

    def find(words: Iterable[str]) -> list[str | None]:
        pattern = rf"(?:^|[^a-z])(?:{'|'.join(words)})s?[=_\- ]?(\d{{1,12}})(?![\d.]*\.\d)"
        return [match[-1] if (match := re.findall(pattern, stem, re.IGNORECASE)) else None for stem in stems]

    return find


def _varying(stems: Sequence[str]) -> list[str | None]:
    """The only number in which the names differ, if they differ in nothing else; [] otherwise, and for numbers that are no
    epochs: in dates, decimals and ids, or after a word such as `seed`.
    """
    dates = [DATE.sub(lambda match: match[0].translate(TO_LETTERS), stem) for stem in stems]
    parts = [re.split(r"(\d+)", stem) for stem in dates]
    if len(stems) == 1 or len({len(part) for part in parts}) != 1:
        return []
    varies = [at for at in range(len(parts[0])) if len({part[at] for part in parts}) > 1]
    if len(varies) != 1 or varies[0] % 2 == 0:
        return []
    (at,) = varies
    before, after = parts[0][at - 1], parts[0][at + 1]
    in_decimal = before == "." or (after == "." and at + 2 < len(parts[0]))
    in_id = before[-1:].isalpha() and after[:1].isalpha()
    return [] if in_decimal or in_id or OTHER.search(before) else [part[at] for part in parts]


def _is_distinct(found: Sequence[str | None]) -> bool:
    return bool(found) and None not in found and len({int(text or 0) for text in found}) == len(found)


def _by_template(stem: str, template: str) -> str | None:
    before, mark, after = template.partition("{epoch}")
    if not mark:
        raise SettingError(
            "epochs_from", f'--epochs-from must contain {{epoch}}, as in "{{epoch}}_loss" (got {template})'
        )
    match = re.search(rf"{re.escape(before)}(\d{{1,12}}){re.escape(after)}", stem)
    return match[1] if match else None


def _list(stems: Sequence[str]) -> str:
    shown = ", ".join(stem[:60] for stem in stems[:SHOWN])
    return shown if len(stems) <= SHOWN else f"{shown}, …"
