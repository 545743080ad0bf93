"""A run is extended by training it with more epochs: the schedule keeps its form, and what is stored stays."""

import numpy as np
import pytest

import tdw
from tdw import schedule


@pytest.mark.parametrize("text", ["0:20:5", "even:4", "log:6", "0:10:5, log:5, 17", "paper"])
def test_the_schedule_keeps_its_form(tmp_path, text):
    path = tmp_path / "run.tdw"
    sizes = {"p": 5, "d_model": 4, "heads": 1, "d_mlp": 4, "train_fraction": 0.5, "threads": 1}
    config = tdw.configure(**sizes, epochs=20, checkpoints=text)
    tdw.create(path, config)
    tdw.train(path)
    with tdw.open(path) as run:
        before = {epoch: run.weights(epoch)["embed.W_E"] for epoch in run.checkpoints}
    tdw.train(path, epochs=40)
    with tdw.open(path) as run:
        assert run.config.checkpoints == config.checkpoints
        assert run.config.epochs == 40
        assert run.state == "finished"
        assert run.checkpoints == sorted(
            {*before, *(epoch for epoch in schedule.parse(config.checkpoints, 40) if epoch > 20)}
        )
        for epoch, weights in before.items():
            assert np.array_equal(run.weights(epoch)["embed.W_E"], weights)
