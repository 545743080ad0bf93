"""`tdw reveal`: what is started, with which arguments; stand-ins on PATH write them down."""

import json
import sys
from pathlib import Path
from urllib.parse import unquote

import pytest

import tdw
from tdw.errors import AppError, NotAProjectError
from tdw.files import reveal as module

STAND_IN = """#!{python}
import json, sys
with open({log!r}, "a") as log: log.write(json.dumps(sys.argv) + "\\n")
sys.exit({code})
"""
SHOW = "org.freedesktop.FileManager1.ShowItems"


@pytest.fixture
def desktop(tmp_path, monkeypatch):
    """A function that puts a program on an otherwise empty PATH, and one that returns what was started."""
    folder, log = tmp_path / "bin", tmp_path / "log"
    folder.mkdir()
    log.touch()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("DISPLAY", ":0")
    monkeypatch.setattr(sys, "platform", "linux")

    def add(name, code=0):
        (folder / name).write_text(STAND_IN.format(python=sys.executable, log=str(log), code=code))
        (folder / name).chmod(0o755)

    def started():
        return [[Path(line[0]).name, *line[1:]] for line in map(json.loads, log.read_text().splitlines())]

    return add, started


@pytest.mark.parametrize("name", ["run.tdw", "a b,c'd\"$(touch x);ü%2C\n.tdw", "-n.tdw"])
def test_the_file_manager_is_asked_by_d_bus(desktop, tmp_path, name):
    add, started = desktop
    add("dbus-send")
    path = tmp_path / name
    path.touch()
    tdw.reveal(path)
    ((program, *arguments),) = started()
    assert program == "dbus-send"
    assert SHOW in arguments
    assert arguments[-1] == "string:"
    array, kind, address = arguments[-2].split(":", 2)
    assert (array, kind) == ("array", "string")
    assert "," not in address
    assert unquote(address) == f"file://{path}"


def test_gdbus_gets_one_address_in_a_list(desktop, tmp_path):
    add, started = desktop
    add("dbus-send", code=1)
    add("gdbus")
    path = tmp_path / "it's.tdw"
    path.touch()
    tdw.reveal(path)
    assert [line[0] for line in started()] == ["dbus-send", "gdbus"]
    *_, method, addresses, startup = started()[1]
    assert method == f"--method={SHOW}"
    assert addresses.count("'") == 2
    assert unquote(addresses) == f"['file://{path}']"
    assert startup == "''"


def test_the_folder_is_opened_where_no_file_manager_answers(desktop, tmp_path):
    add, started = desktop
    add("dbus-send", code=1)
    add("xdg-open")
    (tmp_path / "run.tdw").touch()
    tdw.reveal(tmp_path / "run.tdw")
    assert started()[1] == ["xdg-open", str(tmp_path)]


def test_macos_and_windows(desktop, tmp_path, monkeypatch):
    add, started = desktop
    path = tmp_path / "a b.tdw"
    path.touch()
    monkeypatch.delenv("DISPLAY")
    monkeypatch.setattr(sys, "platform", "darwin")
    add("open")
    tdw.reveal(path)
    assert started() == [["open", "-R", str(path)]]
    assert module.commands(Path("/x/a b.tdw"), "win32") == [["explorer", f"/select,{Path('/x/a b.tdw')}"]]


def test_without_a_desktop_or_a_program_it_says_where_the_file_is(desktop, tmp_path, monkeypatch):
    add, started = desktop
    path = tmp_path / "run.tdw"
    path.touch()
    with pytest.raises(AppError, match=rf"no file manager could be opened to show .*run\.tdw\. It is in {tmp_path}"):
        tdw.reveal(path)
    add("xdg-open")
    monkeypatch.delenv("DISPLAY")
    monkeypatch.delenv("WAYLAND_DISPLAY", raising=False)
    with pytest.raises(AppError, match=rf"there is no desktop here to show .*run\.tdw on\. It is in {tmp_path}"):
        tdw.reveal(path)
    with pytest.raises(NotAProjectError, match=r"none\.tdw does not exist"):
        tdw.reveal(tmp_path / "none.tdw")
    assert started() == []


def test_a_program_that_stays_does_not_hold_the_command_up(desktop, tmp_path, monkeypatch):
    add, started = desktop
    add("dbus-send")
    (tmp_path / "bin" / "dbus-send").write_text(f"#!{sys.executable}\nimport sys, time\ntime.sleep(3)\nsys.exit(1)\n")
    (tmp_path / "run.tdw").touch()
    monkeypatch.setattr(module, "SECONDS", 0.3)
    tdw.reveal(tmp_path / "run.tdw")
    assert started() == []
