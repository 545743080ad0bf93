"""Read curves that trackers and training loops recorded, without weights.

    .csv, .tsv                 a header and rows, also as TensorBoard and W&B export them
    .jsonl, .ndjson, .json     an object a line; a list of objects; lists by name; `log_history` of Hugging Face's trainer
    events.out.tfevents.*      TensorBoard, by its own reader
    run-*.wandb                W&B offline, by the messages of its own package
    .db                        trackio, an SQLite database
    .pt                        a dict of lists, as the code of Grokfast stores it, with weights by step

The columns are understood in `tdw.interchange.columns`.
"""

from __future__ import annotations

import importlib
import json
import re
import sqlite3
import struct
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float64

from tdw.errors import NotImportableError, SettingError
from tdw.interchange import columns, log_steps, table_cells
from tdw.interchange.columns import Column
from tdw.interchange.sniff import refused
from tdw.interchange.source_run import Raw, SourceCheckpoint, SourceRun, integer
from tdw.interchange.stated import add_settings
from tdw.interchange.weight_layouts import is_state, read
from tdw.recorded import is_recorded, nan_as_recorded
from tdw.safe_text import cut

MOST_BYTES = 1 << 30
EVENTS = "events.out.tfevents"
SQLITE = b"SQLite format 3\x00"
WANDB = b":W&B"


def reader(path: Path) -> Callable[[Path, str | None], SourceRun] | None:
    """The function that reads such a file, or a folder that holds one: (path, name of a run) -> run. None for others."""
    if path.is_dir():
        files = sorted(item for item in path.iterdir() if item.is_file() and reader(item) in (_tensorboard, _wandb))
        weights = any(item.suffix in {".pt", ".pth", ".safetensors"} for item in path.iterdir())
        return None if weights or not files else lambda _, run: _folder(path, files, run)
    if not path.is_file():
        return None  # opening a pipe would wait
    text = {".csv": _csv, ".tsv": _csv, ".jsonl": _lines, ".ndjson": _lines, ".json": _json}
    if path.suffix.lower() in text:
        return text[path.suffix.lower()]
    if path.name.startswith(EVENTS):
        return _tensorboard
    try:
        with path.open("rb") as file:
            head = file.read(16)
    except OSError:
        return None  # the error is told by who reads it
    return _trackio if head == SQLITE else _wandb if head.startswith(WANDB) else None


def curves_in(path: Path) -> SourceRun:
    """The curves of one run in such a file. Raises NotImportableError."""
    chosen = reader(path)
    assert chosen is not None, "the file was chosen by its name"
    return chosen(path, None)


def object_in(path: Path) -> dict[str, Any]:
    """The object in a JSON file. Raises NotImportableError."""
    value = _parsed(_text(path), path, "the file")
    if not isinstance(value, dict):
        raise refused(path, f"JSON with a {type(value).__name__} instead of an object")
    return value


def has_several(path: Path) -> bool:
    """Whether such a file may hold several runs."""
    return path.is_file() and reader(path) is _trackio


def _folder(path: Path, files: list[Path], run: str | None) -> SourceRun:
    if len(files) > 1:
        names = ", ".join(cut(file.name, 60) for file in files[:4])
        raise NotImportableError(
            f"{path} cannot be imported: it holds the logs of {len(files)} runs ({names}): give one of these files."
        )
    chosen = reader(files[0])
    assert chosen is not None, "the file was chosen by its reader"
    return chosen(files[0], run)


def _run(form: str, found: list[Column], path: Path, names: Collection[str] = ()) -> SourceRun:
    """names: all that was logged, where a framework may have done it."""
    run = SourceRun(form)
    columns.add(run, log_steps.of_updates(run, found, names, path), path)
    return run


def _csv(path: Path, _: str | None) -> SourceRun:
    found = table_cells.of_text(_text(path), path)
    rows, names = found.rows, list(found.rows[0])
    if {"Step", "Value"} <= set(names):  # one curve, as TensorBoard exports it
        tag = re.sub(r"^.*tag-", "", path.stem)
        rows = [{"step": row["Step"], tag: row["Value"]} for row in rows]
    else:
        # W&B writes `run - name`, and two more columns with the least and the largest value.
        kept = {name: name.rsplit(" - ", 1)[-1] for name in names if not name.endswith(("__MIN", "__MAX"))}
        if len(set(kept.values())) < len(kept):
            raise NotImportableError(
                f"{path} cannot be imported: it has columns of several runs: export each run to a file of its own."
            )
        rows = [{short: row.get(name) for name, short in kept.items()} for row in rows]
    return _run("a table of curves", columns.of_rows(rows, found.places), path, rows[0])


def _lines(path: Path, _: str | None) -> SourceRun:
    rows, places = [], []
    for number, line in enumerate(_text(path).splitlines(), start=1):
        if not line.strip():
            continue
        value = _parsed(line, path, f"line {number}")
        if not isinstance(value, dict):
            raise refused(path, f"lines of JSON that are no objects (line {number})")
        rows.append(_flat(value))
        places.append(f"line {number}")
    if not rows:
        raise NotImportableError(
            f'{path} cannot be imported: it is empty: it needs an object on each line, such as {{"step": 0, "train_loss": 4.7}}.'
        )
    return _run("lines of JSON", columns.of_rows(rows, places), path, _names(rows))


def _json(path: Path, _: str | None) -> SourceRun:
    value = _parsed(_text(path), path, "the file")
    if isinstance(value, dict) and isinstance(value.get("log_history"), list):
        value = value["log_history"]
    if isinstance(value, list) and value and all(isinstance(row, dict) for row in value):
        rows = [_flat(row) for row in value]
        places = [f"object {number}" for number in range(1, len(rows) + 1)]
        return _run("a list of recorded values", columns.of_rows(rows, places), path, _names(rows))
    if isinstance(value, dict):
        lists = {name: items for name, items in _flat(value).items() if isinstance(items, list) and len(items)}
        run = _run("lists of recorded values", columns.of_lists(lists), path)
        add_settings(run, {name: item for name, item in value.items() if not isinstance(item, list)}, path)
        return run
    raise refused(path, "JSON without curves")


def of_dict(loaded: Any, path: Path) -> SourceRun | None:
    """The curves in a dict of lists, and lists of weights in it if others give their steps; None without curves.

    The code of Grokfast stores `its`, `train_loss`, `val_acc`, …, and `net` with `net_its`.
    """
    if not isinstance(loaded, dict):
        return None
    lists = {
        str(name): items
        for name, items in loaded.items()
        if isinstance(items, list | tuple | np.ndarray) and len(items)
    }
    numeric = {name: np.array([table_cells.as_number(item) for item in items]) for name, items in lists.items()}
    numeric = {name: values for name, values in numeric.items() if is_recorded(values).any()}
    if not any(columns.role(name) for name in numeric):
        return None
    steps = {
        name: name.rsplit("_", 1)[0] for name in numeric if name.rsplit("_", 1)[-1] in columns.STEPS and "_" in name
    }
    curves = {name: lists[name] for name in numeric if name not in steps}
    run = _run("a file of recorded values", columns.of_lists(curves), path)
    for name, of in steps.items():
        if of in lists and len(lists[of]) == len(numeric[name]) and all(map(is_state, lists[of])):
            _add_weights(run, list(lists[of]), numeric[name], path)
    return run


def _add_weights(run: SourceRun, states: Sequence[Raw], steps: Float64[np.ndarray, " state"], path: Path) -> None:
    """Add weights by step; or say why they are left out, which keeps the curves."""
    try:
        read(states[-1], "the last of its weights")
    except NotImportableError as error:
        run.converted.append(f"{len(states)} sets of weights were left out ({error})")
        return
    for step, state in zip(steps, states, strict=True):
        label = integer(float(step), "step of weights", str(path))
        run.checkpoints.append(SourceCheckpoint(label, partial(dict, state), f"{path}, the weights of step {label},"))
    run.checkpoints.sort(key=lambda checkpoint: checkpoint.label or 0)
    run.inferred.append(f"{len(states)} sets of weights are at the steps that the file gives for them")


def _tensorboard(path: Path, _: str | None) -> SourceRun:
    accumulator = _needed("tensorboard.backend.event_processing.event_accumulator", "tensorboard", path)
    events = accumulator.EventAccumulator(str(path), size_guidance={"scalars": 0, "tensors": 0})
    try:
        events.Reload()
        tags = events.Tags()
        found = []
        for tag in tags["scalars"]:
            if columns.counts_updates(tag):
                continue
            scalars = events.Scalars(tag)
            steps = np.array([one.step for one in scalars], np.float64)
            found.append(Column(tag, nan_as_recorded([one.value for one in scalars]), steps))
        for tag in tags["tensors"]:  # as TensorFlow 2 writes scalars
            tensors = events.Tensors(tag)
            if all(len(one.tensor_proto.float_val) == 1 for one in tensors):
                values = nan_as_recorded([one.tensor_proto.float_val[0] for one in tensors])
                found.append(Column(tag, values, np.array([one.step for one in tensors], np.float64)))
    except Exception as error:  # damaged input makes the reader raise anything
        raise refused(path, f"a TensorBoard file that is damaged ({cut(str(error), 100)})") from error
    return _run("a TensorBoard event file", found, path, [*tags["scalars"], *tags["tensors"]])


def _wandb(path: Path, _: str | None) -> SourceRun:
    messages = _needed("wandb.proto.wandb_internal_pb2", "wandb", path)
    rows: list[dict[str, Any]] = []
    stated: dict[str, Any] = {}
    for data in _records(path):
        record = messages.Record()
        try:
            record.ParseFromString(data)
        except Exception as error:  # protobuf's own error
            raise refused(path, "a W&B file that is damaged") from error
        if record.HasField("history"):
            row = {"/".join(item.nested_key) or item.key: _value(item.value_json) for item in record.history.item}
            rows.append(row)
        configs = [record.run.config.update] if record.HasField("run") else []
        for item in (one for update in configs for one in update):
            stated["/".join(item.nested_key) or item.key] = _value(item.value_json)
    run = _run("a W&B offline run", columns.of_rows(rows), path, _names(rows))
    add_settings(run, stated, path)
    return run


def _records(path: Path) -> Iterator[bytes]:
    """The records of a W&B file: a log of LevelDB, in blocks of 32 768 bytes, with 7 bytes before the first one.

    A record is one whole piece or a first, middle ones and a last one, each with checksum, size and type before it. The last
    record of a run that was killed may be cut off.
    """
    block, head = 32_768, struct.Struct("<IHB")
    data = path.read_bytes()
    at, record = 7, b""
    while at + head.size <= len(data):
        if block - at % block < head.size:
            at += block - at % block
            continue
        _, size, kind = head.unpack_from(data, at)
        piece = data[at + head.size : at + head.size + size]
        if len(piece) < size or kind not in {1, 2, 3, 4}:
            return
        at += head.size + size
        record = piece if kind in {1, 2} else record + piece
        if kind in {1, 4}:
            yield record


def _trackio(path: Path, wanted: str | None) -> SourceRun:
    try:
        database = sqlite3.connect(f"{path.absolute().as_uri()}?mode=ro", uri=True)
        try:
            names = [name for (name,) in database.execute("SELECT DISTINCT run_name FROM metrics ORDER BY run_name")]
            if wanted is None and len(names) > 1:
                shown = ", ".join(cut(name, 40) for name in names[:8])
                raise NotImportableError(
                    f"{path} cannot be imported: it holds {len(names)} runs ({shown}): choose one with --run."
                )
            if wanted is not None and wanted not in names:
                raise SettingError("run", f"--run must be one of {', '.join(map(cut, names))} (got {cut(wanted)})")
            name = wanted if wanted is not None else names[0] if names else ""
            query = "SELECT step, metrics FROM metrics WHERE run_name = ? ORDER BY id"
            rows = [{"step": step} | _flat(_value(metrics)) for step, metrics in database.execute(query, (name,))]
            stated = {}
            if database.execute("SELECT 1 FROM sqlite_master WHERE name = 'configs'").fetchone():
                found = database.execute("SELECT config FROM configs WHERE run_name = ?", (name,)).fetchone()
                stated = _flat(_value(found[0])) if found else {}
        finally:
            database.close()
    except sqlite3.Error as error:
        raise refused(path, f"an SQLite database that trackio did not write ({cut(str(error), 100)})") from error
    run = _run("a run of trackio", columns.of_rows(rows), path, _names(rows))
    add_settings(run, stated, path)
    return run


def _names(rows: Sequence[Mapping[str, Any]]) -> set[str]:
    return {name for row in rows for name in row}


def _flat(value: Any, before: str = "") -> dict[str, Any]:
    """Values by name, those in sections as `section/name`."""
    if not isinstance(value, dict):
        return {}
    flat: dict[str, Any] = {}
    for name, item in value.items():
        full = f"{before}{name}"
        flat |= _flat(item, f"{full}/") if isinstance(item, dict) and before.count("/") < 4 else {full: item}
    return flat


def _value(text: str | bytes) -> Any:
    """A value written as JSON; None for what is none."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _parsed(text: str, path: Path, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise refused(path, f"invalid or truncated JSON ({where})") from error


def _text(path: Path) -> str:
    size = path.stat().st_size
    if size > MOST_BYTES:
        raise refused(path, f"a table of {size / 1e9:.1f} GB, too large for the curves of a run")
    try:
        return path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise refused(path, "a table that is not UTF-8: save it again as that") from error


def _needed(module: str, package: str, path: Path) -> Any:
    """A module of the package that owns a format. Raises NotImportableError if it is not installed."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise NotImportableError(
            f'{path} cannot be imported: reading it needs the package {package}. Install it with `pip install "tdw[trackers]"`, '
            "or export the curves as CSV."
        ) from error
