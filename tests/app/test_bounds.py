"""Limits of request bodies and responses, and the calls that the form's endpoint accepts."""

from __future__ import annotations

import http.client
import json
import os
import re
import shutil
import socket
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import tdw
from tdw.app import open_runs, streamed_rows
from tdw.app.open_runs import OpenRuns, key_of
from tdw.app.recent_files import RecentFiles
from tdw.app.streamed_rows import Rows
from tdw.errors import AppError, SettingError, UnknownNameError

JSON = {"Content_Type": "application/json"}
PREDICT = "/gradio_api/run/predict"


def memory(pid: int) -> int:
    """Peak memory of a process in bytes."""
    found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    assert found is not None
    return int(found[1]) * 1024


@pytest.fixture(scope="module")
def many_tables(tmp_path_factory) -> Path:
    """A run of 15 MB whose neuron tables take 190 MB."""
    path = tmp_path_factory.mktemp("runs") / "many.tdw"
    settings = tdw.configure(
        p=59,
        d_model=16,
        heads=8,
        d_mlp=512,
        epochs=99,
        checkpoints="0:99:1",
        train_fraction=0.1,
        threads=1,
        evaluate_every=99,
    )
    tdw.create(path, settings)
    tdw.train(path)
    return path


def test_however_much_is_asked_for_a_piece_of_it_is_in_memory(open_window, many_tables):
    window = open_window(many_tables)
    base = f"/runs/{key_of(many_tables)}"
    width = 1 + 2 * 8 * 59
    few = np.frombuffer(window.get(f"{base}/neurons?ids=0,511"), "<f4").reshape(100, 2, width)
    before = memory(window.process.pid)
    asked = f"{base}/neurons?ids={','.join(map(str, range(512)))}"
    connection = http.client.HTTPConnection("127.0.0.1", window.port, timeout=120)
    connection.request("GET", asked, headers={"Cookie": window.cookie})
    reply = connection.getresponse()
    assert reply.status == 200
    assert int(reply.headers["content-length"]) == 100 * 512 * width * 4 > 190e6
    row = np.frombuffer(reply.read(512 * width * 4), "<f4").reshape(512, width)
    np.testing.assert_allclose(row[[0, 511]], few[0], atol=1e-6)
    left = reply.read()
    connection.close()
    last = np.frombuffer(left[-512 * width * 4 :], "<f4").reshape(512, width)
    np.testing.assert_allclose(last[[0, 511]], few[-1], atol=1e-6)
    assert memory(window.process.pid) - before < 60e6
    # When the client disconnects in the middle, reading stops, and the run can be closed.
    for _ in range(5):
        connection.request("GET", asked, headers={"Cookie": window.cookie})
        connection.getresponse().read(1000)
        connection.close()
    assert memory(window.process.pid) - before < 90e6
    assert window.ask("/now", Cookie=window.cookie).status == 200


@pytest.mark.parametrize(
    ("ids", "sentence"),
    [
        (",".join(map(str, range(1025))), "ids must be up to 1024 different neurons (got 1025)"),
        ("3,3", "ids must be up to 1024 different neurons (got 2)"),
        (",".join(["1"] * 20_000), "(got 20000)"),
        ("16", "neuron must be from 0 to 15 (got 16)"),
        ("1" * 5000, "must be a non-negative integer"),
    ],
)
def test_more_neurons_than_there_are_is_a_sentence(window, tiny_run, ids, sentence):
    assert window.do("open", path=str(tiny_run))[0] == 200
    answer = window.ask(f"/runs/{key_of(tiny_run)}/neurons?ids={ids}", Cookie=window.cookie)
    assert answer.status == 404
    assert sentence in json.loads(answer.body)["error"]


def test_rows_are_held_against_the_run_before_anything_is_read(tmp_path, tiny_run, monkeypatch):
    monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "state"))
    held = OpenRuns(RecentFiles())
    monkeypatch.setattr(streamed_rows, "MOST_BYTES", 900)
    with held.at(tiny_run) as run:
        monkeypatch.setattr(type(run.project), "series", lambda *_: pytest.fail("it was read"))
        monkeypatch.setattr(type(run.project), "weights_at", lambda *_: pytest.fail("it was read"))
        for plan in (lambda: run.array("losses/train", 0), lambda: run.neurons([1, 2]), run.scores):
            with pytest.raises(AppError, match=r"MB, the limit is 0 MB: request fewer"):
                plan()
        assert run.array("losses/train", 100).nbytes == 21 * 8
        assert run.array("losses/train", 10**9).nbytes == 0
        with pytest.raises(UnknownNameError):
            run.array("nothing", 0)
        with pytest.raises(SettingError):
            run.neurons([16])
    held.close()


def test_a_run_that_is_closed_while_it_is_sent_is_sent_to_the_end(tmp_path, tiny_run, monkeypatch):
    monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setattr(streamed_rows, "CHUNK", 64)
    monkeypatch.setattr(open_runs, "KEPT_OPEN", 1)
    held = OpenRuns(RecentFiles())
    other = Path(shutil.copy(tiny_run, tmp_path / "other.tdw"))
    with held.at(tiny_run) as run:
        pieces = run.array("losses/train", 0).chunks()
        first = next(pieces)
        held.open(other)
        assert run.closed
        whole = first + b"".join(pieces)
        with tdw.open(tiny_run) as alone:
            assert whole == alone.series("losses/train").tobytes()
    with pytest.raises(ValueError, match="closed"):
        run.project.series("losses/train")
    held.close()


def test_rows_that_change_while_they_are_sent_break_off():
    short = Rows("x", 0, 4, 8, lambda begin, _: np.zeros(begin))
    with pytest.raises(AppError, match="changed while it was being sent"):
        list(short.chunks())


@pytest.mark.parametrize("path", ["/do/open", "/do/forget", "/do/train", PREDICT])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_that_is_larger_than_any_the_window_sends_is_refused(window, path, chunked):
    window.get("/now")  # until the first response, libraries are loaded
    before = memory(window.process.pid)
    head = (
        f"POST {path} HTTP/1.1\r\nHost: {window.host}\r\nCookie: {window.cookie}\r\nContent-Type: application/json\r\n"
    )
    head += "Transfer-Encoding: chunked\r\n\r\n" if chunked else f"Content-Length: {10**9}\r\n\r\n"
    with socket.create_connection(("127.0.0.1", window.port), timeout=60) as line:
        line.sendall(head.encode())
        piece = b"x" * 65536
        sent = b"10000\r\n" + piece + b"\r\n" if chunked else piece
        try:
            for _ in range(1500):
                line.sendall(sent)
        except (BrokenPipeError, ConnectionResetError):
            pass  # the body is not read to its end
        answer = b""
        while b"\r\n\r\n" not in answer or b"}" not in answer:
            try:
                piece = line.recv(65536)
            except ConnectionResetError:
                break
            if not piece:
                break
            answer += piece
    assert answer[:12] in {b"HTTP/1.1 413", b""}, "nothing of it may be read, so the answer can be lost with it"
    assert memory(window.process.pid) - before < 30e6
    small = window.ask(path, "POST", body=b"x" * 66_000, Cookie=window.cookie, **JSON)
    assert small.status == 413
    assert "exceeds 65536 bytes" in json.loads(small.body)["error"]


def form_call(window: Any) -> dict[str, Any]:
    """A call of the form, as described in the page."""
    config = re.search(r"window\.gradio_config = (\{.*?\});</script>", window.get("/").decode(), re.DOTALL)
    assert config is not None
    page = json.loads(config[1])
    values = {item["id"]: item["props"].get("value") for item in page["components"]}
    asked = max((one for one in page["dependencies"] if one["backend_fn"]), key=lambda one: len(one["outputs"]))
    return {
        "data": [values[one] for one in asked["inputs"]], "fn_index": asked["id"], "session_hash": "abc123",
        "trigger_id": asked["targets"][0][0], "event_data": None,
    }  # fmt: skip


def predict(window: Any, call: Any) -> tuple[int, dict[str, Any]]:
    body = call if isinstance(call, bytes) else json.dumps(call).encode()
    answer = window.ask(PREDICT, "POST", body=body, Cookie=window.cookie, Origin=f"http://{window.host}", **JSON)
    return answer.status, json.loads(answer.body)


def secret_file(tmp_path: Path) -> Path:
    file = tmp_path / "secret.txt"
    file.write_text(f"not for anybody {os.urandom(8).hex()}")
    return file


def test_what_the_form_does_not_send_is_refused_before_gradio_sees_it(open_window, tmp_path):
    file = secret_file(tmp_path)
    named = {"path": str(file), "meta": {"_type": "gradio.FileData"}}
    with (tmp_path / "errors").open("w+") as errors:
        window = open_window(errors=errors)
        call = form_call(window)
        assert predict(window, call)[0] == 200
        assert predict(window, {**call, "session_hash": None, "trigger_id": None})[0] == 200
        first = call["data"]
        odd: list[Any] = [named, [named], {"path": str(file)}, None, True, 7, [], {}, [[]], "x" * 50_000, 1e308, -1]
        slider = next(at for at, value in enumerate(first) if isinstance(value, float))
        wrong: list[Any] = [
            {**call, "data": [*first[:at], value, *first[at + 1 :]]} for at in (0, 1, slider) for value in odd
        ]
        wrong += [{**call, "data": [*first[:slider], value, *first[slider + 1 :]]} for value in ("0.5", 2, 10**400)]
        wrong += [{**call, "data": value} for value in (None, {}, first[:-1], [*first, "x"], "x", named)]
        wrong += [{**call, "fn_index": value} for value in (None, -1, 99, "0", True, 1.0, [], named)]
        wrong += [{**call, "session_hash": value} for value in ("", "x" * 99, "../x", "a b", 7, [], named)]
        wrong += [{**call, "trigger_id": value} for value in ("x", 10**9, True, [], named)]
        wrong += [b"", b"{", b"[]", b"[" * 60_000, b"null", b"\xff", json.dumps([call]).encode(), b'{"data": NaN}']
        for one in wrong:
            status, answer = predict(window, one)
            assert (status, "not a request of the form" in answer.get("error", "")) == (422, True), one
        # Fields that the form does not set have no effect.
        more = {
            "event_data": named,
            "batched": True,
            "simple_format": True,
            "event_id": "x",
            "oauth_token": "x",
            "more": [named],
        }
        assert predict(window, {**call, **more})[0] == 200
        window.stop()
        errors.seek(0)
        assert errors.read() == ""
    for path in window.state.rglob("*"):
        assert not path.is_file() or path.read_bytes() != file.read_bytes()


@pytest.mark.parametrize("path", ["/proc/self/mem", "/dev/full", "/proc/self/pagemap"])
def test_a_read_error_is_a_sentence(window, path):
    if not Path(path).exists():
        pytest.skip("this system has no such file")
    status, answer = window.do("open", path=path)
    assert status in {404, 409}
    assert len(answer["error"]) > 20
    assert "\n" not in answer["error"]


def test_a_run_that_cannot_be_read_any_more_is_said_to_be_so(tmp_path, tiny_run, monkeypatch):
    """As on a failing disk: the window lists the run as lost, and everything else works."""
    from tdw.app.open_runs import error_text
    from tdw.app.session import Session

    monkeypatch.setenv("TDW_STATE_DIR", str(tmp_path / "state"))
    run = Path(shutil.copy(tiny_run, tmp_path / "run.tdw"))
    bench = Session()
    key = bench.open(str(run))

    def broken(*_: Any) -> None:
        raise OSError(5, "Input/output error", str(run))

    with bench.runs.held() as (opened,):
        monkeypatch.setattr(opened, "refresh", broken)
        news = bench.look()[f"run {key}"]
    assert news["state"] == "lost"
    assert news["error"] == f"{run} cannot be read (input/output error): check the disk and the file's permissions"
    assert (
        error_text(OSError("no number"))
        == "this file cannot be read (no number): check the disk and the file's permissions"
    )
    bench.close()
