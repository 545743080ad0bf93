"""A process that works on a project file without a pause until it is killed: `python tortured.py FILE SEED [STEPS]`.

It does what training and analyzing do, in random order, and says on its standard output what the file holds: `before` an
act with the values that the act may lead to, `done` after it returned. What was said to be done must be there afterwards.
Without a number of steps it starts a new run over the old one when that has become long.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import sys
from pathlib import Path
from typing import Any

from tdw import store
from tests.store import store_runs
from tests.store.store_runs import plan, rows, step, summary


def say(word: str, **what: Any) -> None:
    os.write(1, (json.dumps({"word": word, **what}) + "\n").encode())


def work(path: Path, seed: int, steps: int | None) -> None:
    choose = random.Random(seed)
    writer = store.open_writer(path) if path.exists() else None
    for count in itertools.count() if steps is None else range(steps):
        if writer is None or (steps is None and writer.reader.n_epochs > 30_000):
            if writer is not None:
                writer.close()
            say("create")
            writer = store_runs.create(path, overwrite=True)
        else:
            act(writer, choose, count)
            if choose.random() < 0.15:
                writer.close()
                writer = store.open_writer(path)
        say("done", **summary(writer.reader))
    if writer is not None:
        writer.close()
        say("closed")


def act(writer: store.Writer, choose: random.Random, count: int) -> None:
    room = writer.reader.planned_epochs - writer.reader.n_epochs + 1
    dice = choose.random()
    stored = writer.reader.analyses()
    grown = [a for a in stored.values() if a.rows < a.capacity]
    if room < 200 or writer.reader.n_checkpoints == writer.reader.checkpoint_capacity:
        epochs = writer.reader.planned_epochs + 400
        say("extend", room=epochs)
        config = {"p": 7, "room": epochs}
        writer.extend(config=config, epochs=epochs, checkpoint_capacity=writer.reader.checkpoint_capacity + 4)
    elif dice < 0.6 or (dice < 0.85 and not grown):
        kept = choose.random() < 0.4
        step(writer, choose.randrange(1, 120), checkpoint=kept, resume=kept or choose.random() < 0.3)
    elif dice < 0.85:
        analysis = choose.choice(grown)
        threshold = analysis.parameters["threshold"]
        n = min(analysis.capacity - analysis.rows, choose.randrange(1, 20))
        writer.append_rows({analysis.name: rows(analysis.name, threshold, analysis.rows, analysis.rows + n)})
    elif dice < 0.95:
        name = choose.choice(["events", "summary", "neuron_clusters"])
        threshold = choose.choice([0.5, 0.25])
        remove = [choose.choice(sorted(stored))] if stored and choose.random() < 0.3 else []
        say("plan", name=name, removed=remove)
        capacity = min(600, stored[name].capacity + choose.choice([0, 60])) if name in stored else 60
        writer.plan_analyses([plan(name, threshold, capacity)], remove=remove)
    else:
        say("notes", notes={"count": count})
        writer.set_notes({"count": count})


if __name__ == "__main__":
    work(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]) if len(sys.argv) > 3 else None)
