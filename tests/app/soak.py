"""An hour of use of the window, in equal rounds, and the memory that server and page hold.

One tab stays open and is used throughout; a second one is reloaded, polls, and starts jobs. Actions are counted, not
timed: `Round` has the number of each between two measurements of memory.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

import tdw

OPENED = ".tdw-item[data-section=open]"
SETTLED = "window.tdw && tdw.revision !== null && tdw.painted === tdw.index"
SMALL = {"p": 11, "d_model": 16, "heads": 2, "d_mlp": 16, "threads": 1}
KEYS = ("ArrowRight", "ArrowLeft", "Shift+ArrowRight", "Home", "End")


@dataclass(frozen=True)
class Round:
    """The number of actions between two measurements of memory."""

    moves: int  # of the slider and of everything that draws, in the tab that stays
    keys: int  # of them by the real keyboard
    reloads: int  # of the other tab
    polls: int  # requests for current messages
    streams: int  # event streams opened and closed
    jobs: tuple[str, ...]  # on a new small run, meanwhile; the other actions are divided among them


@dataclass(frozen=True)
class Look:
    """One measurement: bytes, and counts."""

    server_rss: int
    server_pss: int
    server_own: int  # not shared with other processes: freed when it exits
    threads: int
    files: int  # open descriptors that are not sockets
    sockets: int
    heap: int  # of the tab that stays: script, its buffers and the page's elements, after collection
    nodes: int
    listeners: int
    documents: int
    reloaded_heap: int  # the same of the tab that was reloaded
    reloaded_nodes: int
    reloaded_listeners: int
    # Both tabs' processes. Not compared: with Playwright the browser keeps about 4 kB for every request (Network.enable).
    # Without that, it stays at 200 MB over 12 000 requests and over 12 000 moves.
    renderers_pss: int


# All actions in the viewer, each awaited until it is painted. The order is random, with a seed.
MOVES = """async ({ seed, moves }) => {
  let state = seed;
  const below = (n) => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return Math.floor((state / 2 ** 32) * n);
  };
  const all = (selector) => [...document.querySelectorAll("#tdw-viewer " + selector)].filter((one) => one.checkVisibility());
  const any = (list) => list[below(list.length)];
  const frame = () => new Promise(requestAnimationFrame);
  const press = (key, more) => document.body.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true, cancelable: true, ...more }));
  const point = (type, node, more) => {
    const box = node.getBoundingClientRect();
    const at = { clientX: box.left + ((1 + below(98)) / 100) * box.width, clientY: box.top + ((1 + below(98)) / 100) * box.height };
    const event = { bubbles: true, pointerId: 1, ...at, ...more };
    node.dispatchEvent(new PointerEvent(type, event));
    return event;
  };
  const range = () => document.querySelector("#tdw-viewer .tdw-range");
  const zoom = () => {
    const plot = any(all(".tdw-plot"));
    const [from, to] = plot.layout.xaxis.range;
    const [low, high] = [below(50) / 100, 0.5 + below(50) / 100];
    return Plotly.relayout(plot, { "xaxis.range[0]": from + low * (to - from), "xaxis.range[1]": from + high * (to - from) });
  };
  const drag = () => {
    range().value = String(tdw.viewer.run.checkpoints[below(tdw.count)]);
    range().dispatchEvent(new Event("input", { bubbles: true }));
  };
  const pin = () => {
    const thumbs = all(".tdw-thumb");
    if (!thumbs.length) return any(all(".tdw-unpin")).click();
    if (tdw.pins.length < 5) return any(thumbs).click();
    return tdw.pin();
  };
  const kinds = [
    [30, drag],
    [12, () => tdw.show(below(tdw.count))],
    [12, () => press(any(["ArrowLeft", "ArrowRight", "Home", "End"]), { shiftKey: below(4) === 0 })],
    [10, pin],
    [4, () => all(".tdw-card-head button:not(.tdw-menu-button):not(.tdw-flag)").forEach((button) => below(2) && button.click())],
    [4, () => {
      const select = any(all(".tdw-select"));
      if (!select) return;
      select.value = any([...select.options].filter((option) => !option.disabled)).value;
      select.dispatchEvent(new Event("change", { bubbles: true }));
    }],
    [4, () => {
      any(all(".tdw-menu-button")).click();
      any(all(".tdw-menu [role=menuitemradio]")).click();
    }],
    [6, zoom],
    [3, () => any(all(".tdw-plot")).dispatchEvent(new MouseEvent("dblclick", { bubbles: true }))],
    [6, () => {
      for (const node of [range(), any(all(".tdw-plot")), any(all(".tdw-thumb, .tdw-pinned canvas"))]) point("pointermove", node);
    }],
    [3, () => {
      const plot = any(all(".tdw-plot"));
      const { clientX, clientY } = point("pointerdown", plot);
      window.dispatchEvent(new PointerEvent("pointerup", { clientX, clientY }));
    }],
    [3, () => {
      const thumbs = document.querySelector("#tdw-viewer .tdw-thumbs");
      thumbs.scrollTop = below(thumbs.scrollHeight);
    }],
    [2, () => document.querySelector(`.tdw-themes [data-name=${any(["light", "dark", "system"])}]`).click()],
    [2, () => {
      const epoch = document.querySelector("#tdw-viewer .tdw-epoch");
      epoch.focus();
      epoch.value = below(8) ? String(below(tdw.viewer.run.checkpoints.at(-1))) : "x";
      epoch.dispatchEvent(new KeyboardEvent("keydown", { key: "Enter", bubbles: true }));
      epoch.blur();
    }],
    [1, async () => {
      press(" ");
      for (let i = 0; i < 12; i++) await frame();
      press(" ");
    }],
  ];
  const drawn = kinds.flatMap(([weight], i) => Array(weight).fill(i));
  const done = kinds.map(() => 0);
  for (let i = 0; i < moves; i++) {
    const kind = any(drawn);
    await kinds[kind][1]();
    do await frame();
    while (tdw.painted !== tdw.index);
    done[kind]++;
  }
  return done;
}"""

# The same view every time, so that counts can be compared: nothing pinned or zoomed, first choice in every menu.
HOME = """async () => {
  const all = (selector) => [...document.querySelectorAll("#tdw-viewer " + selector)].filter((one) => one.checkVisibility());
  const frame = () => new Promise(requestAnimationFrame);
  document.querySelector(".tdw-themes [data-name=light]").click();
  for (const plot of all(".tdw-plot")) plot.dispatchEvent(new MouseEvent("dblclick", { bubbles: true }));
  for (const button of all(".tdw-menu-button")) {
    for (let group = 0; ; group++) {
      button.click();
      const groups = all(".tdw-menu [role=group]");
      if (group >= groups.length) break;
      groups[group].querySelector("[role=menuitemradio]").click();
    }
    button.click();
  }
  const maps = tdw.panel("neuron_activations");
  tdw.pin(0, 1, 2, 3, 4);
  maps.setStage("pinned");
  tdw.pin();
  maps.sortBy("index");
  for (const node of all(".tdw-plot, .tdw-range, .tdw-thumbs")) node.dispatchEvent(new PointerEvent("pointerleave"));
  document.activeElement?.blur();
  tdw.show(0);
  do await frame();
  while (tdw.painted !== 0);
  await maps.fetch();
  clearTimeout(tdw.viewer.saying);
  tdw.viewer.toast.textContent = "";
  for (let i = 0; i < 3; i++) await frame();
}"""

POLL = """async (times) => {
  for (let i = 0; i < times; i++) {
    const answer = await fetch("/now");
    if (!answer.ok || !(await answer.json()).some((message) => message.type === "jobs")) throw new Error(`/now answered ${answer.status}`);
  }
}"""

STREAM = """async (times) => {
  for (let i = 0; i < times; i++) {
    await new Promise((resolve, reject) => {
      const source = new EventSource("/events");
      source.onmessage = () => resolve(source.close());
      source.onerror = () => reject(new Error("the event stream broke"));
    });
  }
}"""


class Soak:
    """A window with one run open in two tabs."""

    def __init__(self, browser: Any, context: Any, window: Any, run: Path, folder: Path):
        self.window, self.run, self.folder = window, run, folder
        self.processes = browser.new_browser_cdp_session()
        self.stays = context.new_page()
        self.stays.goto(window.address)
        # In a window of its own: of the tabs of one window, only the one in front gets more than a frame per second.
        with context.expect_page() as opened:
            self.stays.evaluate("window.open('/', '', 'popup,noopener,width=1280,height=800') && undefined")
        self.other = opened.value
        self.counters = []
        for page in (self.stays, self.other):
            page.wait_for_function(SETTLED)
            counter = context.new_cdp_session(page)
            counter.send("Performance.enable")
            self.counters.append(counter)

    def round(self, number: int, much: Round) -> None:
        """One round."""
        file = self.folder / f"job-{number}.tdw"
        tdw.create(file, tdw.configure(**SMALL, epochs=400, checkpoints="0:400:20"))
        asked = {"seed": number + 1, "moves": much.moves - much.keys}
        self.stays.evaluate(f"asked => {{ window.tdwSoaking = ({MOVES})(asked); }}", asked)
        self.choose(self.other, file)
        parts = much.jobs or ("",)
        for command in parts:
            if command:
                self.other.click(f"{OPENED} .tdw-action >> text={command}")
            self.other.evaluate(POLL, much.polls // len(parts))
            self.other.evaluate(STREAM, much.streams // len(parts))
            for _ in range(much.reloads // len(parts)):
                self.other.reload()
                self.other.wait_for_function(SETTLED)
            if command:
                self.ended(file, command)
        assert sum(self.stays.evaluate("window.tdwSoaking")) == asked["moves"]
        self.by_hand(much.keys)
        self.choose(self.stays, file)
        self.choose(self.stays, self.run)
        self.choose(self.other, self.run)
        self.forget(file)

    def choose(self, page: Any, file: Path) -> None:
        """Switch a tab to a run."""
        page.evaluate("path => tdwShell.openPath(path)", str(file))
        page.locator(f".tdw-file >> text={file.name}").wait_for()
        page.locator(f"{OPENED} b >> text={file.stem}").wait_for()

    def ended(self, file: Path, command: str) -> None:
        """Wait until a job has finished and both tabs show it."""
        self.other.locator(f"{OPENED} .tdw-action >> text=Stop").wait_for(state="hidden")
        self.stays.locator(f".tdw-running [title='{file}']").wait_for(state="detached")
        with tdw.open(file) as run:
            assert run.state == "finished"
            if command == "Analyze":
                assert run.analysis("neuron_summary").checkpoints == run.checkpoints

    def by_hand(self, keys: int) -> None:
        """Real input: keys, a zoom by dragging, a new window size, the form."""
        page = self.stays
        page.evaluate("document.activeElement?.blur()")
        for number in range(keys):
            page.keyboard.press(KEYS[number % len(KEYS)])
            page.wait_for_function("tdw.painted === tdw.index")
        box = page.locator("#tdw-viewer .tdw-plot").first.bounding_box()
        page.mouse.move(box["x"] + box["width"] * 0.3, box["y"] + box["height"] * 0.4)
        page.mouse.down()
        page.mouse.move(box["x"] + box["width"] * 0.6, box["y"] + box["height"] * 0.5, steps=4)
        page.mouse.up()
        for size in ({"width": 1000, "height": 700}, {"width": 1280, "height": 800}):
            page.set_viewport_size(size)
            page.wait_for_function("size => innerWidth === size.width && innerHeight === size.height", arg=size)
        page.click("#tdw-new-button")
        for p in (13, 17):
            page.fill("#tdw-input-p :is(textarea, input)", str(p))
            page.wait_for_function(f"document.querySelector('#tdw-preview').textContent.includes('of {p * p}')")
        page.click("#tdw-cancel")
        page.locator("#tdw-form").wait_for(state="hidden")

    def forget(self, file: Path) -> None:
        """Remove a run from the list and the disk, so that the next round starts from the same state."""
        item = f".tdw-recent .tdw-item:has([title='{file}'])"
        self.other.hover(item)
        self.other.click(f"{item} .tdw-forget")
        file.unlink()
        for page in (self.other, self.stays):
            page.locator(item).wait_for(state="detached")

    def look(self) -> Look:
        """Return both tabs to the initial view, and measure."""
        for page in (self.stays, self.other):
            page.evaluate(HOME)
        stays, other = map(_counted, self.counters)
        pid = self.window.process.pid
        server = _memory(pid)
        kinds = [_target(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
        sockets = sum(kind.startswith("socket:") for kind in kinds)
        listed = self.processes.send("SystemInfo.getProcessInfo")["processInfo"]
        return Look(
            server_rss=server["Rss"],
            server_pss=server["Pss"],
            server_own=server["Private_Clean"] + server["Private_Dirty"],
            threads=len(list(Path(f"/proc/{pid}/task").iterdir())),
            files=len([kind for kind in kinds if kind]) - sockets,
            sockets=sockets,
            heap=stays["bytes"],
            nodes=stays["Nodes"],
            listeners=stays["JSEventListeners"],
            documents=stays["Documents"],
            reloaded_heap=other["bytes"],
            reloaded_nodes=other["Nodes"],
            reloaded_listeners=other["JSEventListeners"],
            renderers_pss=sum(_memory(one["id"])["Pss"] for one in listed if one["type"] == "renderer"),
        )


def soak(browser: Any, window: Any, run: Path, folder: Path, rounds: Sequence[Round]) -> Iterator[Look]:
    """Run the rounds, with a measurement after each."""
    context = browser.new_context(viewport={"width": 1280, "height": 800})
    thrown: list[str] = []
    context.on("weberror", lambda error: thrown.append(str(error.error)))
    try:
        soaked = Soak(browser, context, window, run, folder)
        for number, much in enumerate(rounds):
            soaked.round(number, much)
            yield soaked.look()
        assert not thrown
        assert list((window.state / "jobs").iterdir()) == []
    finally:
        context.close()


def table(looks: list[Look]) -> str:
    """All measurements, one line per quantity."""
    lines = []
    for field in fields(Look):
        values = [getattr(look, field.name) for look in looks]
        if max(values) > 1e5:
            values = [f"{value / 1e6:.2f}" for value in values]
        lines.append(f"{field.name:>18} " + " ".join(f"{value:>7}" for value in values))
    return "\n".join(lines)


def _target(link: Path) -> str:
    """The target of a descriptor; empty if it was closed since it was listed."""
    try:
        return str(link.readlink())
    except FileNotFoundError:
        return ""


def _memory(pid: int) -> dict[str, int]:
    """A process's memory in bytes, by kind."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return {name: int(kilobytes) * 1024 for name, kilobytes in re.findall(r"^(\w+): +(\d+) kB$", text, re.MULTILINE)}


def _counted(counter: Any) -> dict[str, int]:
    """A page's counts after two garbage collections: the second frees what the first has released."""
    for _ in range(3):
        counter.send("HeapProfiler.collectGarbage")
    metrics = {item["name"]: int(item["value"]) for item in counter.send("Performance.getMetrics")["metrics"]}
    usage = counter.send("Runtime.getHeapUsage")
    held = usage["usedSize"] + usage.get("embedderHeapUsedSize", 0) + usage.get("backingStorageSize", 0)
    return {**metrics, "bytes": int(held)}
