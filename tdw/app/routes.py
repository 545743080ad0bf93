"""The routes of our own: data for the viewer, news, commands, scripts and styles.

    GET  /runs/KEY/manifest                 what there is to draw
    GET  /runs/KEY/array/NAME?from=ROW      committed rows, raw little-endian
    GET  /runs/KEY/neurons?ids=3,17         closed-form tables of chosen neurons
    GET  /runs/KEY/scores                   attention scores
    GET  /now                               all news as of now: jobs, library, opened runs
    GET  /events                            the same as server-sent events, whenever something changes
    GET  /assets/NAME?v=HASH                styles and Plotly, immutable
    GET  /assets/HASH/FOLDER/NAME           ES modules, immutable
    POST /do/open {path} · /do/forget {path} · /do/train|analyze|stop|dismiss {key}

A refusal is `{"error": sentence}` with status 404 (there is no such thing), 409 (not possible now), 413 or 422 (nothing
the window sends looks like that) or 507 (too little memory).
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import APIRouter, FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import FileResponse, Response, StreamingResponse
from pydantic import BaseModel, StrictStr

from tdw.app import rows
from tdw.app.open_runs import said
from tdw.app.session import Workbench
from tdw.errors import AppError, NotAProjectError, SettingError, TdwError, UnknownNameError
from tdw.viewer import page

FRESH = {"Cache-Control": "no-store"}
IMMUTABLE = {"Cache-Control": "private, max-age=31536000, immutable"}


class JSONAnswer(Response):
    """A value as JSON in plain ASCII: names of files may hold what UTF-8 has no bytes for."""

    media_type = "application/json"

    def render(self, content: Any) -> bytes:
        """The bytes of the answer."""
        return json.dumps(content, allow_nan=False, separators=(",", ":")).encode("ascii")


class AtPath(BaseModel):
    """A command on a path someone typed."""

    path: StrictStr


class OfRun(BaseModel):
    """A command on a run that is known."""

    key: StrictStr


def add(application: FastAPI, workbench: Workbench) -> dict[str, str]:
    """Put every route of our own into the application; the addresses of scripts and styles by name."""
    application.add_exception_handler(TdwError, _refused)
    application.add_exception_handler(OSError, _refused_by_the_system)
    application.add_exception_handler(MemoryError, _too_large)
    application.add_exception_handler(RequestValidationError, _malformed)
    application.include_router(_data(workbench))
    application.include_router(_commands(workbench))
    return _assets(application)


def _refused(_request: Request, error: Exception) -> Response:
    """The one place where a refusal becomes an answer; anything else keeps its traceback in the terminal."""
    missing = isinstance(error, AppError | UnknownNameError | NotAProjectError | SettingError)
    return JSONAnswer({"error": str(error)}, status_code=404 if missing else 409)


def _refused_by_the_system(_request: Request, error: Exception) -> Response:
    """A disk that cannot be read, a folder closed to us, no descriptor left."""
    return JSONAnswer({"error": said(error)}, status_code=409)


def _too_large(_request: Request, _error: Exception) -> Response:
    sentence = "this machine has too little memory for this answer: close other runs or programs, and try again"
    return JSONAnswer({"error": sentence}, status_code=507)


def _malformed(_request: Request, _error: Exception) -> Response:
    return JSONAnswer({"error": "this request is not one the window makes: give what its route names"}, status_code=422)


def _data(workbench: Workbench) -> APIRouter:
    router = APIRouter()
    runs = workbench.runs

    @router.get("/runs/{key}/manifest")
    def manifest(key: str) -> Response:
        with runs.using(key) as run:
            return JSONAnswer(run.manifest() | {"job": workbench.jobs.of(key)}, headers=FRESH)

    @router.get("/runs/{key}/array/{name:path}")
    def array(key: str, name: str, request: Request) -> Response:
        return rows.answer(runs.using(key), lambda run: run.array(name, _from(request)), FRESH)

    @router.get("/runs/{key}/neurons")
    def neurons(key: str, request: Request, ids: str = "") -> Response:
        named = [_whole(part, "ids") for part in ids.split(",")]
        return rows.answer(runs.using(key), lambda run: run.neurons(named, _from(request)), FRESH)

    @router.get("/runs/{key}/scores")
    def scores(key: str, request: Request) -> Response:
        return rows.answer(runs.using(key), lambda run: run.scores(_from(request)), FRESH)

    @router.get("/now")
    def now() -> Response:
        return JSONAnswer(list(workbench.look().values()), headers=FRESH)

    @router.get("/events")
    async def events() -> Response:
        return StreamingResponse(workbench.hub.stream(), media_type="text/event-stream", headers=FRESH)

    return router


def _commands(workbench: Workbench) -> APIRouter:
    router = APIRouter(prefix="/do")
    runs, jobs = workbench.runs, workbench.jobs

    def done(key: str | None = None, **more: str) -> Response:
        workbench.hub.nudge()
        return JSONAnswer({"key": key, **more}, headers=FRESH)

    @router.post("/open")
    def open_file(given: AtPath) -> Response:
        key = workbench.open(given.path)
        with runs.using(key) as run:
            word = run.first_word()
        return done(key, path=str(runs.path(key)), **({} if word is None else {"word": word}))

    @router.post("/forget")
    def forget(given: AtPath) -> Response:
        workbench.library.forget(Path(given.path))
        return done()

    @router.post("/train")
    def train(given: OfRun) -> Response:
        return done(workbench.train(runs.path(given.key)).key)

    @router.post("/analyze")
    def analyze(given: OfRun) -> Response:
        return done(jobs.start("analyze", runs.path(given.key)).key)

    @router.post("/stop")
    def stop(given: OfRun) -> Response:
        jobs.stop(given.key)
        return done(given.key)

    @router.post("/dismiss")
    def dismiss(given: OfRun) -> Response:
        jobs.dismiss(given.key)
        return done(given.key)

    return router


def _files() -> list[page.Asset]:
    """The viewer's files and the shell's."""
    here = Path(__file__).parent
    return [*page.assets(), page.Asset("shell.css", here / "shell.css", "text/css"), *page.modules(here)]


def addresses() -> dict[str, str]:
    """Where styles and scripts are served, by name."""
    return page.addresses(_files())


def _assets(application: FastAPI) -> dict[str, str]:
    """Serve scripts and styles under addresses that change with their bytes.

    One route for each, because Gradio keeps its own under `/assets/` too.
    """
    files = _files()
    where = page.addresses(files)
    for asset in files:
        application.get(where[asset.name].partition("?")[0])(_asset(asset.path, asset.media_type))
    modules = [where[asset.name] for asset in files if asset.is_module]
    early = _EARLY % tuple(map(json.dumps, (modules, where[page.PLOTLY], where["app/shell.js"])))
    application.get("/assets/early.js")(lambda: Response(early, media_type="text/javascript", headers=IMMUTABLE))
    return {**where, "early.js": f"/assets/early.js?v={hashlib.blake2b(early.encode(), digest_size=8).hexdigest()}"}


# Before anything is drawn, so that no light page flashes up in the dark; then the scripts. Every module is preloaded, so
# that none waits until those that import it have come.
_EARLY = """"use strict";
{
  const set = localStorage.getItem("tdw-theme");
  const dark = set ? set === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "dark" : "light";
  const add = (tag, attributes) => document.head.append(Object.assign(document.createElement(tag), attributes));
  for (const href of %s) add("link", { rel: "modulepreload", href });
  add("script", { src: %s, async: false });
  add("script", { src: %s, async: false, type: "module" });
}
"""


def _asset(path: Path, media_type: str) -> Callable[[], Response]:
    def asset() -> Response:
        return FileResponse(path, media_type=media_type, headers=IMMUTABLE)

    return asset


def _from(request: Request) -> int:
    """The row an answer begins with: a page asks only for what it does not have."""
    return _whole(request.query_params.get("from", "0"), "from")


def _whole(text: str, name: str) -> int:
    if not (text.isascii() and text.isdigit() and len(text) < 10):
        raise AppError(f"{name}={text[:40]!r} is not allowed: give whole numbers from 0 on")
    return int(text)
