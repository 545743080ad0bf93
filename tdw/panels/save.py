"""Panels as files for papers: vector figures, pictures and tables of numbers, each with a caption."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tdw.errors import TdwError, UnknownNameError
from tdw.panels import content, reductions
from tdw.panels.content import Bars, Content, Curves, Heat, Spans
from tdw.panels.csv_tables import csv_text
from tdw.panels.describe import drawable, title
from tdw.panels.spec import BarsSpec, CurveSpec, GridSpec, Spec, array_names
from tdw.safe_text import visible
from tdw.store.atomic_files import files_explained, new_files, refuse_target
from tdw.text_format import integer, integers, sentence, short

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from tdw.panels.registry import Panel
    from tdw.project.project import Project

PICTURES = (".pdf", ".svg", ".png")
FORMATS = (*PICTURES, ".csv")
INSTALL = 'pip install "tdw[figures]"'
COLUMNS = {"single": 85.0, "double": 178.0}  # mm, of most journals
WIDTHS, DPI = (20.0, 1000.0), (50, 2400)


def save_figure(
    project: Project,
    name: str,
    out: str | Path,
    epoch: int | None = None,
    *,
    width_mm: float = COLUMNS["single"],
    height_mm: float | None = None,
    dpi: int = 600,
    font: str | None = None,
    caption: bool = False,
    overwrite: bool = False,
    **picks: str,
) -> str:
    """Write a panel at a checkpoint (the last one for None) to a PDF, SVG, PNG or CSV file. Returns the text of a caption.

    width_mm, height_mm: size of the figure in millimeters; a height that suits the panel for None. dpi: pixels per inch of a PNG
    file, and of the cells of heat maps, which are pictures inside of vector files. font: an installed font (for None the one that
    comes with matplotlib). caption: also write the caption to a text file beside, with the same name. picks: as in `figure`. The
    epoch is marked on lines over epochs only where it is given. The same input gives the same bytes.
    Raises what `figure` raises, UnknownNameError for another font, AlreadyExistsError (unless `overwrite`),
    CannotWriteError, and TdwError where matplotlib is not installed (a CSV file needs none), for another format, or where the panel has no room.
    """
    out = Path(out)
    kind = checked_format(out, FORMATS)
    panel, spec, at = drawable(project, name, epoch, picks)
    shown = content.content(project, spec, at)
    words = visible(caption_of(project, panel, spec, shown, at, is_marked=epoch is not None))
    with written(project, out, caption=words if caption else None, overwrite=overwrite) as path:
        if kind == ".csv":
            facts = _facts(project, panel, spec, at)
            about = [("caption", words), *((name, visible(str(value))) for name, value in facts)]
            path.write_text(csv_text(shown, about), encoding="utf-8", newline="")
        else:
            with looking(width_mm, height_mm, dpi, font) as draw:
                _save(draw(shown, epoch if epoch is None else at), path, kind, dpi)
    return words


def checked_format(out: Path, formats: tuple[str, ...]) -> str:
    """The ending of a file's name, where it is one of these. Raises TdwError."""
    suffix = out.suffix.lower()
    if suffix not in formats:
        raise TdwError(
            f"the name of the file says its format: it ends with {', '.join(formats)} (got {visible(out.name)})."
        )
    return suffix


@contextmanager
def written(project: Project, out: Path, *, caption: str | None, overwrite: bool) -> Iterator[Path]:
    """A path at which to write a file that gets the name `out`, and its caption next to it: both, or none after an error."""
    files = [out] if caption is None else [out, out.with_suffix(".txt")]
    with files_explained(out, "written"):
        for target in files:
            refuse_target(target, project.path, overwrite=overwrite)
        with new_files(out.parent, overwrite=overwrite) as made:
            if caption is not None:
                (made / files[1].name).write_text(f"{caption}\n", encoding="utf-8")
            yield made / out.name


@contextmanager
def looking(width_mm: float, height_mm: float | None, dpi: int, font: str | None) -> Iterator[Any]:
    """`matplotlib_figures.draw` with a size, under the settings of figures. Raises TdwError, UnknownNameError."""
    for name, size in (("width", width_mm), ("height", height_mm)):
        if size is not None and not WIDTHS[0] <= size <= WIDTHS[1]:
            raise TdwError(f"the {name} of a figure is from {WIDTHS[0]:g} to {WIDTHS[1]:g} mm (got {size:g}).")
    if not DPI[0] <= dpi <= DPI[1]:
        raise TdwError(f"the resolution of a figure is from {DPI[0]} to {DPI[1]} dpi (got {dpi}).")
    if importlib.util.find_spec("matplotlib") is None:
        raise TdwError(
            f"figures for papers need matplotlib, which is not installed: {INSTALL}. A .csv file needs none."
        )
    import matplotlib as mpl
    from matplotlib import font_manager

    from tdw.panels import matplotlib_figures

    used = font or matplotlib_figures.FONT
    installed = {entry.name for entry in font_manager.fontManager.ttflist}
    if used not in installed:
        raise UnknownNameError("installed font", used, sorted(installed))
    named: Any = matplotlib_figures.settings(used)  # its stubs know the names of parameters as literals only
    with mpl.rc_context(named):
        yield lambda shown, epoch, above="", height=height_mm: matplotlib_figures.draw(
            shown, epoch, width_mm, height, above
        )


def _save(figure: Figure, path: Path, kind: str, dpi: int) -> None:
    """Write a figure with nothing in it that changes from one time to the next."""
    metadata: Any = {
        ".pdf": {"CreationDate": None, "Creator": "tdw", "Producer": "matplotlib"},
        ".svg": {"Date": None, "Creator": "tdw"},
        ".png": {"Software": "tdw"},
    }[kind]
    figure.savefig(path, format=kind[1:], dpi=dpi, metadata=metadata)


def _drawn_only(spec: Spec) -> Spec:
    """A description of what is drawn: the first of its views or quantities."""
    match spec:
        case CurveSpec():
            return replace(spec, quantities=spec.quantities[:1])
        case GridSpec():
            return replace(spec, views=spec.views[:1])
        case BarsSpec():
            return replace(spec, views=spec.views[:1])
    return spec


def measures(project: Project, panel: Panel, spec: Spec) -> list[tuple[str, int]]:
    """The analyses whose stored results are drawn, and the version that computed them."""
    names = [name for name in array_names(_drawn_only(spec)) if name.startswith(("analysis/", reductions.PREFIX))]
    used = dict.fromkeys([*([panel.analysis] if panel.kind == "spans" and panel.analysis else [])])
    used |= dict.fromkeys(map(reductions.analysis_of, names))
    stored = project.analyses()
    return [(name, stored[name].version) for name in used if name in stored]


def _facts(project: Project, panel: Panel, spec: Spec, epoch: int) -> list[tuple[str, str]]:
    from tdw import __version__

    versions = ", ".join(f"{name} version {version}" for name, version in measures(project, panel, spec))
    facts = [("run", project.path.name), ("title", project.notes.title), ("run id", project.id), ("panel", panel.name)]
    facts += [("epoch", str(epoch)), ("measures", versions), ("program", f"tdw {__version__}")]
    return [(name, value) for name, value in facts if value]


def caption_of(
    project: Project,
    panel: Panel,
    spec: Spec,
    shown: Content,
    epoch: int,
    *,
    is_marked: bool = True,
    frames: tuple[int, ...] = (),
) -> str:
    """What a figure shows, of which run and epoch, by which version of which measure. frames: the epochs of an animation"""
    from tdw import __version__

    words = [f"{title(panel, spec)}."]
    is_over_epochs = isinstance(shown, Curves | Spans) or (isinstance(shown, Heat) and shown.is_history)
    last = integer(max(len(project.epochs) - 1, 0))
    named = f" ({project.notes.title})" if project.notes.title else ""
    when = f"epochs 0–{last}" if is_over_epochs else f"epoch {integer(epoch)}"
    if frames:
        when = f"{len(frames)} checkpoints, epochs {integers(frames[0], frames[-1])}"
    words.append(f"Run {project.path.name}{named}, {when}.")
    if is_over_epochs and is_marked:
        words.append(f"The vertical line marks epoch {integer(epoch)}.")
    match shown:
        case Bars(level=float() as level):
            words.append(f"Dashed: the threshold {short(level)}.")
        case Bars(missing=str() as missing) if missing:
            words.append(f"No bar: {missing}.")
        case Heat() if not shown.value_names and bool(np.isnan(shown.values).any()):
            words.append("Gray: no value.")
        case Curves():
            words += [sentence(f"{_band(band)}: {band.label}") for band in shown.bands]
    used = measures(project, panel, spec)
    if used:
        listed = ", ".join(f"{name} version {version}" for name, version in used)
        words.append(f"{'Measure' if len(used) == 1 else 'Measures'}: {listed}; tdw {__version__}.")
    else:
        words.append(f"As recorded in training; tdw {__version__}.")
    return " ".join(words)


def _band(band: content.DrawnBand) -> str:
    return f"line at {short(band.low)}" if band.low == band.high else "gray band"
