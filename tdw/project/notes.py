"""The user's notes on a run: title, tags, remark. Stored in its file as JSON, together with keys of newer versions."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from tdw.errors import SettingError
from tdw.project.records import Notes
from tdw.safe_text import cut, visible

TITLE, TAG, REMARK = 120, 40, 4_000  # characters
TAGS = 12


def known(stored: Mapping[str, Any]) -> Notes:
    """Title, tags and remark in stored notes, empty where missing.

    The file may come from elsewhere: values of another type are ignored, long texts are cut.

    >>> known({"title": "clock?", "tags": ["p59", 7], "seen": 1})
    Notes(title='clock?', tags=['p59'], remark='')
    """
    tags = stored.get("tags")
    tags = [_cut(tag, TAG) for tag in tags if tag] if isinstance(tags, list) else []
    return Notes(
        title=_cut(stored.get("title"), TITLE),
        tags=[tag for tag in tags if tag][:TAGS],
        remark=_cut(stored.get("remark"), REMARK),
    )


def changed(
    stored: Mapping[str, Any], title: str | None = None, tags: Sequence[str] | None = None, remark: str | None = None
) -> dict[str, Any]:
    """The notes with these changes: None keeps one, "" removes it.

    Raises SettingError for text that is too long or has invisible characters.
    """
    given: dict[str, Any] = {}
    if title is not None:
        given["title"] = _allowed("title", title, TITLE)
    if tags is not None:
        wanted = [_allowed("tag", tag, TAG) for tag in tags]
        given["tags"] = list(dict.fromkeys(tag for tag in wanted if tag))
        if len(given["tags"]) > TAGS:
            raise SettingError("tag", f"at most {TAGS} tags are allowed (got {len(given['tags'])})")
    if remark is not None:
        given["remark"] = _allowed("remark", remark.replace("\r\n", "\n"), REMARK, lines=True)
    return {name: value for name, value in {**stored, **given}.items() if value or name not in given}


def _cut(value: Any, most: int) -> str:
    return cut(value, most) if isinstance(value, str) else ""


def _allowed(name: str, text: str, most: int, *, lines: bool = False) -> str:
    text = text.strip()
    if len(text) > most:
        raise SettingError(name, f"--{name} may have at most {most} characters (got {len(text)})")
    shown = visible(text, lines=lines)
    if shown != text:
        what = "invisible characters" + ("" if lines else " or line breaks")
        raise SettingError(name, f"--{name} contains {what}: {shown}")
    return text
