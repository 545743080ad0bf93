"""A panel over all checkpoints as a GIF or MP4 file. Axes and colors are the same in every frame."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tdw.analyses import ANALYSES
from tdw.errors import NotApplicableError, TdwError
from tdw.panels import content
from tdw.panels.content import Bars, Content, Heat, Maps
from tdw.panels.describe import drawable
from tdw.panels.save import COLUMNS, caption_of, checked_format, looking, written
from tdw.safe_text import visible
from tdw.text_format import integer

if TYPE_CHECKING:
    from tdw.panels.spec import Spec
    from tdw.project.project import Project

FORMATS = (".gif", ".mp4")
FPS = (0.1, 60.0)
FFMPEG = (
    "an MP4 file needs the program ffmpeg, which is not installed or not on the PATH: install it (Debian, Ubuntu: apt install "
    "ffmpeg; macOS: brew install ffmpeg), or write a .gif file."
)

Report = Callable[[int, int], None]  # frames drawn, frames in all


def save_animation(
    project: Project,
    name: str,
    out: str | Path,
    *,
    fps: float = 8.0,
    width_mm: float = COLUMNS["single"],
    height_mm: float | None = None,
    dpi: int = 200,
    font: str | None = None,
    caption: bool = False,
    overwrite: bool = False,
    progress: Report | None = None,
    **picks: str,
) -> str:
    """Write a panel at every checkpoint where it is analyzed as frames of a GIF or MP4 file, `fps` a second. Returns the text of a
    caption. progress: called after each frame. Other arguments and errors as of `save_figure`; TdwError where an MP4 file is
    wanted and the program ffmpeg is not installed.
    """
    out = Path(out)
    kind = checked_format(out, FORMATS)
    if not FPS[0] <= fps <= FPS[1]:
        raise TdwError(f"an animation has from {FPS[0]:g} to {FPS[1]:g} frames a second (got {fps:g}).")
    if kind == ".mp4" and shutil.which("ffmpeg") is None:
        raise TdwError(FFMPEG)
    panel, spec, last = drawable(project, name, None, picks)
    epochs = _epochs(project, panel.analysis if panel.required else None)
    if len(epochs) < 2:
        raise NotApplicableError(
            project.path, panel.name, f"an animation needs two checkpoints; there are {len(epochs)}."
        )
    shown = content.content(project, spec, epochs[-1], neurons_at=epochs[-1])
    words = visible(caption_of(project, panel, spec, shown, last, is_marked=False, frames=tuple(epochs)))
    with (
        written(project, out, caption=words if caption else None, overwrite=overwrite) as path,
        looking(width_mm, height_mm, dpi, font) as draw,
    ):
        frames = _frames(project, spec, epochs, draw, dpi, progress)
        if kind == ".gif":
            _gif(path, frames, fps)
        else:
            _mp4(path, frames, fps)
    return words


def _epochs(project: Project, analysis: str | None) -> list[int]:
    """Checkpoints, or those at which an analysis is stored."""
    if analysis is None or ANALYSES[analysis].per == "run":
        return list(project.checkpoints)
    return list(project.analysis(analysis).checkpoints)


def same_scale(shown: Content, others: Iterator[Content]) -> Content:
    """What is shown, on axes and colors that hold all the others too."""
    match shown:
        case Bars():
            heights = np.concatenate([one.heights for one in (shown, *others) if isinstance(one, Bars)])
            found = [*heights[np.isfinite(heights)], *([] if shown.level is None else [shown.level])]
            if shown.reference is not None:
                found.append(shown.reference[0])
            found = [value for value in found if value > 0] if shown.is_log else [*found, 0.0]
            low, high = (float(min(found)), float(max(found))) if found else (0.1, 1.0)
            if shown.is_log:
                return replace(shown, ends=(low / 1.5, high * 1.5))
            room = 0.06 * (high - low) or 1.0
            return replace(shown, ends=(low - room if low < 0 else 0.0, high + room))
        case Heat() if not shown.is_history:
            ends = [_ends(one) for one in (shown, *others) if isinstance(one, Heat)]
            high = max(end for _, end in ends)
            low = high - content.DECADES if shown.is_log else min(start for start, _ in ends)
            return replace(shown, low=low, high=high)
        case Maps():
            tops = np.array([one.tops for one in (shown, *others) if isinstance(one, Maps)])
            return replace(shown, tops=tuple(map(float, tops.max(axis=0))))
    return shown


def _ends(shown: Heat) -> tuple[float, float]:
    finite = shown.values[np.isfinite(shown.values)]
    return shown.low, float(finite.max(initial=shown.low)) if shown.high is None else shown.high


def _frames(
    project: Project, spec: Spec, epochs: Sequence[int], draw: Any, dpi: int, progress: Report | None
) -> Iterator[Any]:
    """Each frame as an array (height, width, RGBA) of bytes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg

    def shown_at(epoch: int) -> Content:
        return content.content(project, spec, epoch, neurons_at=epochs[-1])

    scaled = same_scale(shown_at(epochs[-1]), (shown_at(epoch) for epoch in epochs[:-1]))
    for number, epoch in enumerate(epochs):
        shown = shown_at(epoch)
        match shown, scaled:
            case Bars(), Bars():
                shown = replace(shown, ends=scaled.ends)
            case Heat(), Heat():
                shown = replace(shown, low=scaled.low, high=scaled.high)
            case Maps(), Maps():
                shown = replace(shown, tops=scaled.tops)
        figure = draw(shown, epoch, f"epoch {integer(epoch)}")
        figure.set_dpi(dpi)
        canvas: Any = FigureCanvasAgg(figure)
        canvas.draw()
        yield np.asarray(canvas.buffer_rgba())
        if progress is not None:
            progress(number + 1, len(epochs))


def _gif(path: Path, frames: Iterator[Any], fps: float) -> None:
    """Frames of a GIF file last a whole number of hundredths of a second."""
    from PIL import Image

    images = (Image.fromarray(frame[:, :, :3]).quantize(256) for frame in frames)
    first = next(images)
    duration = 10 * max(2, round(100 / fps))  # ms; browsers show shorter ones slowly
    first.save(path, format="GIF", save_all=True, append_images=images, duration=duration, loop=0)


def _mp4(path: Path, frames: Iterator[Any], fps: float) -> None:
    """H.264 as every player and browser reads it: 4:2:0 colors, even numbers of pixels."""
    process: subprocess.Popen[bytes] | None = None
    for frame in frames:
        if process is None:
            height, width = frame.shape[:2]
            pad = "pad=ceil(iw/2)*2:ceil(ih/2)*2:color=white"
            source = ["-f", "rawvideo", "-pix_fmt", "rgba", "-s", f"{width}x{height}", "-r", f"{fps:g}", "-i", "-"]
            coded = ["-vf", pad, "-c:v", "libx264", "-crf", "18", "-pix_fmt", "yuv420p", "-movflags", "+faststart"]
            plain = ["-fflags", "+bitexact", "-flags:v", "+bitexact", "-map_metadata", "-1", "-f", "mp4", str(path)]
            command = ["ffmpeg", "-loglevel", "error", "-nostdin", *source, *coded, *plain]
            process = subprocess.Popen(command, stdin=subprocess.PIPE, stderr=subprocess.PIPE)
        try:
            process.stdin.write(frame.tobytes())  # type: ignore[union-attr]
        except BrokenPipeError:
            break
    if process is None:
        return
    _, told = process.communicate()
    if process.returncode:
        raise TdwError(
            f"ffmpeg could not write the animation: {told.decode(errors='replace').strip() or 'no reason given'}"
        )
