"""Made-up sweeps at a landmark, with a planted relation of the times to the losses, the measures, or nothing."""

from __future__ import annotations

import numpy as np

from tdw.statistics.judgment import Landmark

HORIZON = 1000.0


def sweep(
    seed: int,
    *,
    by_losses: float = 0.0,
    by_measures: float = 0.0,
    by_setting: float = 0.0,
    seeds: int = 40,
    settings: int = 3,
    never: float = 0.1,
    lost: float = 0.0,
    with_settings: bool = True,
) -> Landmark:
    """A sweep in which log times are linear in the first feature of losses or measures, and in the setting, with noise of 0.25.

    never: share of runs that never generalize. lost: share that are followed for a random part of the time only
    """
    rng = np.random.default_rng(seed)
    n = seeds * settings
    setting, number = np.divmod(np.arange(n), seeds)
    curves, measures = rng.normal(size=(n, 4)), rng.normal(size=(n, 6))
    center = setting - (settings - 1) / 2
    log_time = np.log(300) + by_losses * curves[:, 0] + by_measures * measures[:, 0] + by_setting * center
    time = np.exp(log_time + 0.25 * rng.normal(size=n))
    time[rng.random(n) < never] = np.inf
    end = np.where(rng.random(n) < lost, HORIZON * rng.random(n), HORIZON)
    return Landmark(
        500,
        HORIZON,
        np.minimum(time, end),
        time <= end,
        curves,
        measures,
        center[:, None].astype(np.float64) if with_settings else np.empty((n, 0)),
        [(int(one),) for one in number],
        [(int(one),) for one in setting],
        with_settings,
    )
