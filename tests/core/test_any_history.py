"""Runs that are stopped, extended, branched, edited and densified in any order hold what plain training from the start gives."""

import itertools
import math
import random
from dataclasses import dataclass, replace

import numpy as np
import pytest

import tdw
from tdw import tasks
from tdw.config import RunConfig
from tdw.network import reference, training
from tdw.network.segment import State


@dataclass(frozen=True)
class Stage:
    """From epoch `at` on, a run is trained with these settings; `fresh`: AdamW starts again there.

    scale: what W_E is multiplied by there. reset: whether AdamW's state of W_in is set to zero there
    """

    config: RunConfig
    at: int
    fresh: bool
    scale: float = 1
    reset: bool = False


def plainly(stages, until):
    """Weights, train and test loss of every epoch, trained from the start and kept in memory."""
    config = stages[0].config
    split, state = tasks.draw_split(config), training.start(config, reference.initial_weights(config))
    found, began = {}, 0
    for stage, following in itertools.zip_longest(stages, stages[1:]):
        last = until if following is None else following.at
        weights, slots = state.weights, state.slots
        weights = weights | {"embed.W_E": weights["embed.W_E"] * np.float32(stage.scale)}
        if stage.reset:
            name = "blocks.0.mlp.W_in"
            slots = {slot: part | {name: np.zeros_like(part[name])} for slot, part in slots.items()}
        state = State(state.epoch, weights, slots)
        if stage.fresh:
            began = stage.at
            state = State.fresh(stage.at, state.weights, stage.config.optimizer_kind.slots)
        every = list(range(last + 1))
        for segment in training.train(replace(stage.config, epochs=last), state, split, every, optimizer_from=began):
            state = segment.state
            found[state.epoch] = state.weights, segment.train_loss[-1], segment.test_loss[-1]
    return found


def assert_as_trained_plainly(path, stages):
    with tdw.open(path) as run:
        assert run.verify() == []
        until = len(run.epochs) - 1
        expected = plainly(stages, until) if until >= 0 else {}
        assert run.checkpoints == [epoch for epoch in run.planned_checkpoints if epoch <= until]
        for epoch in range(until + 1):
            weights, train, test = expected[epoch]
            assert run.train_loss[epoch] == train, epoch
            measured = run.test_loss[epoch]
            assert measured == test or (math.isnan(measured) and epoch not in run.checkpoints), epoch
            if epoch in run.checkpoints:
                assert all(np.array_equal(array, weights[name]) for name, array in run.weights(epoch).items()), epoch


class History:
    """Runs, what was done to them, and by which stages each could be trained plainly."""

    def __init__(self, folder, draw):
        self.folder, self.draw, self.runs = folder, draw, {}
        sizes = {"p": 7, "d_model": 4, "heads": 1, "d_mlp": 4, "train_fraction": 0.5, "threads": 1}
        first = tdw.configure(
            **sizes,
            epochs=12,
            evaluate_every=3,
            checkpoints=self.one("0:12:2", "0:12:3", "2,5", ""),
            model_seed=draw.randint(0, 99),
            warmup=self.one(0, 4),
        )
        tdw.create(self.new(), first)
        if self.one(True, False):
            tdw.train(self.new())
        self.runs[self.new()] = [Stage(first, 0, False)]

    def one(self, *values):
        return self.draw.choice(values)

    def new(self):
        return self.folder / f"run-{len(self.runs)}.tdw"

    def step(self):
        path = self.one(*self.runs)
        with tdw.open(path) as run:
            config, checkpoints, reached = run.config, run.checkpoints, max(len(run.epochs) - 1, 0)
        what = self.one(*["branch"] * 5, "finish", "densify", "densify", "stop", "extend", "analyze")
        if what == "finish":
            tdw.train(path)
        elif what == "stop":
            answers = itertools.chain([False] * self.draw.randint(1, 5), itertools.repeat(True))
            tdw.train(path, stop=lambda: next(answers))
        elif what == "extend":
            more = config.epochs + self.draw.randint(1, 4)
            plan = self.one({}, {"checkpoints": f"0:{more}:4"})
            tdw.train(path, epochs=more, **plan)
        elif what == "densify" and checkpoints:
            tdw.densify(path, ",".join(str(self.draw.randint(0, reached)) for _ in range(2)))
        elif what == "branch" and checkpoints:
            self.branch(path, self.one(*checkpoints))
        elif what == "analyze":
            tdw.analyze(path, only=["loss", "pair_graduation"] if checkpoints else ["events"])
        assert_as_trained_plainly(path, self.runs[path])

    def branch(self, path, at):
        fresh = self.one(False, True)
        epochs = at + self.draw.randint(1, 7)
        changes = self.one({}, {"weight_decay": 0}, {"weight_decay": 2, "lr": 1e-2}, {"lr": 3e-3})
        changes |= {
            "checkpoints": self.one("", f"0:{epochs}:2")
        }  # that of the origin may reach beyond the branch's end
        new = self.new()
        scale, reset = self.one(1, 1, 2, 0.25), self.one(False, False, True)
        edits = [f"scale:W_E={scale}"] * (scale != 1) + ["reset-optimizer:W_in"] * reset
        edits += self.one([], [], ["freeze:W_U"])
        tdw.branch(path, new, at, edits=edits, fresh_optimizer=fresh, epochs=epochs, **changes)
        with tdw.open(new) as run:
            self.runs[new] = [stage for stage in self.runs[path] if stage.at <= at]
            self.runs[new] += [Stage(run.config, at, fresh, scale, reset)]
        assert_as_trained_plainly(new, self.runs[new])


def goes_on(folder, seed):
    history = History(folder, random.Random(seed))
    for _ in range(history.draw.randint(4, 9)):
        history.step()
    for path, stages in history.runs.items():
        tdw.train(path)
        assert_as_trained_plainly(path, stages)


@pytest.mark.parametrize("seed", range(12))
def test_a_history(tmp_path, seed):
    goes_on(tmp_path, seed)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(12, 160))
def test_another_history(tmp_path, seed):
    goes_on(tmp_path, seed)
