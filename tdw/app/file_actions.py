"""Commands of the table of runs on project files: each calls the function of the same name in `tdw`."""

from __future__ import annotations

from fastapi import APIRouter
from pydantic import BaseModel, StrictStr

import tdw
from tdw.app.json_response import JSONResponse
from tdw.app.open_runs import key_of, typed_path
from tdw.app.session import Session


class Renaming(BaseModel):
    """A run and its new name."""

    key: StrictStr
    new: StrictStr


class Several(BaseModel):
    """Several known runs."""

    keys: list[StrictStr]


class Paths(BaseModel):
    """Where runs were that are in the trash."""

    paths: list[StrictStr]


class Noting(BaseModel):
    """What is changed of a run's notes; None leaves it as it is."""

    key: StrictStr
    title: StrictStr | None = None
    tags: list[StrictStr] | None = None
    remark: StrictStr | None = None


class OfRun(BaseModel):
    """A command on a known run."""

    key: StrictStr


def router(session: Session) -> APIRouter:
    """The routes: POST /do/rename, /do/delete, /do/restore, /do/duplicate, /do/note, /do/reveal."""
    routes = APIRouter(prefix="/do", default_response_class=JSONResponse)
    runs, library = session.runs, session.library

    @routes.post("/rename")
    def rename(given: Renaming) -> dict[str, str]:
        old = runs.path(given.key)
        new = tdw.rename(old, given.new)
        library.renamed(old, new)
        session.hub.nudge()
        return {"key": key_of(new), "path": str(new)}

    @routes.post("/delete")
    def delete(given: Several) -> dict[str, list[str]]:
        done = tdw.delete([runs.path(key) for key in given.keys])
        for one in done:
            library.forget(one.path)
        session.hub.nudge()
        return {"paths": [str(one.path) for one in done]}

    @routes.post("/restore")
    def restore(given: Paths) -> dict[str, list[str]]:
        done = [tdw.restore(typed_path(path)) for path in given.paths]
        session.recent_files.keep(*done)
        library.nudge()
        return {"paths": [str(path) for path in done]}

    @routes.post("/duplicate")
    def duplicate(given: OfRun) -> dict[str, str]:
        new = tdw.copy(runs.path(given.key))
        session.recent_files.keep(new)
        library.nudge()
        return {"key": key_of(new), "path": str(new)}

    @routes.post("/note")
    def note(given: Noting) -> dict[str, object]:
        notes = tdw.note(runs.path(given.key), title=given.title, tags=given.tags, remark=given.remark)
        library.nudge()
        return {"key": given.key, **notes.to_json()}

    @routes.post("/reveal")
    def reveal(given: OfRun) -> dict[str, str]:
        tdw.reveal(runs.path(given.key))
        return {"key": given.key}

    return routes
