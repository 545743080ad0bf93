"""Which frequencies runs choose as their key frequencies, compared with chance."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from jaxtyping import Float64, Int64

from tdw import arguments
from tdw.analyses.key_frequencies import DEFAULT_RULE, RULES
from tdw.errors import TdwError, UnknownNameError
from tdw.statistics.collection import checked

if TYPE_CHECKING:
    from tdw.statistics.collection import Runs

MOST_DRAWS = 1_000_000

Freq = Float64[np.ndarray, " freq"]


@dataclass(frozen=True)
class FrequencyChoices:
    """How many of the runs have each frequency 1 … K as a key frequency, and how many would by chance: if each run drew as many
    frequencies as it has, all equally likely, without replacement and independently of the others.

    runs: those with stored key frequencies. left_out: without, by another rule, or with another number of frequencies
    count, expected, p (freq): runs with the frequency, their number by chance, and its exact two-sided p-value
    adjusted (freq): those p-values corrected for K tests by Holm's method
    chi2, chi2_p: sum of (count - expected)² / expected, and its p-value from `draws` simulated sets of runs
    """

    rule: str
    runs: int
    left_out: int
    count: Int64[np.ndarray, " freq"]
    expected: Freq
    p: Freq
    adjusted: Freq
    chi2: float
    chi2_p: float
    draws: int


def frequency_choices(runs: Runs, rule: str = DEFAULT_RULE, *, draws: int = 10_000, seed: int = 0) -> FrequencyChoices:
    """Key frequencies of runs by one rule of the analysis `key_frequencies`, as far as they are stored, against chance.

    Raises ArgumentError, UnknownNameError, and TdwError if no run has any, or if the runs differ in their number of frequencies (filter by p).
    """
    if not isinstance(rule, str) or rule not in RULES:
        raise UnknownNameError("rule for key frequencies", rule, RULES)
    draws, seed = arguments.integer("draws", draws, 1, MOST_DRAWS), arguments.integer("seed", seed, 0)
    stored = [row for row in checked(runs) if row["key_frequencies"] is not None and row["key_rule"] == rule]
    sizes = sorted({row["frequencies"] for row in stored})
    if len(sizes) != 1:
        raise TdwError(
            f"no run has stored key frequencies by the rule {rule}: run `tdw analyze` on the files"
            if not sizes
            else f"the runs have {', '.join(map(str, sizes))} frequencies: compare runs with one, such as those of `--where p=113`"
        )
    chosen = [row["key_frequencies"] for row in stored]
    sets = np.array([len(keys) for keys in chosen])
    count = np.bincount([k - 1 for keys in chosen for k in keys], minlength=sizes[0])
    expected = np.full(sizes[0], sets.sum() / sizes[0])
    p = _two_sided(poisson_binomial(sets / sizes[0]))[count]
    chi2, chi2_p = _simulated(count, sets, draws, np.random.default_rng(seed))
    return FrequencyChoices(
        rule, len(stored), len(runs) - len(stored), count, expected, p, holm(p), chi2, chi2_p, draws
    )


def poisson_binomial(chances: Float64[np.ndarray, " trial"]) -> Float64[np.ndarray, " number"]:
    """Probabilities of 0, 1, … successes in independent trials with these chances, (trials + 1).

    >>> poisson_binomial(np.array([0.5, 0.5]))
    array([0.25, 0.5 , 0.25])
    """
    found = np.ones(1)
    for chance in chances:
        found = np.append(found * (1 - chance), 0) + np.append(0, found * chance)
    return found


def holm(p: Freq) -> Freq:
    """p-values corrected for their number (Holm 1979).

    >>> holm(np.array([0.01, 0.04, 0.03]))
    array([0.03, 0.06, 0.06])
    """
    order = np.argsort(p)
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    out = np.empty_like(p)
    out[order] = np.minimum(steps, 1)
    return out


def _two_sided(chances: Float64[np.ndarray, " number"]) -> Float64[np.ndarray, " number"]:
    """For each number, the probability of all that are at most as likely; the factor is that of R's exact tests, for rounding."""
    return np.array([min(chances[chances <= chance * (1 + 1e-7)].sum(), 1.0) for chance in chances])


def _simulated(
    count: Int64[np.ndarray, " freq"], sets: Int64[np.ndarray, " run"], draws: int, generator: np.random.Generator
) -> tuple[float, float]:
    """The statistic and its Monte-Carlo p-value, (1 + number at least as large) / (1 + draws)."""
    expected = sets.sum() / len(count)
    if not expected:
        return 0.0, 1.0
    chi2 = float(((count - expected) ** 2).sum() / expected)
    simulated = np.zeros((draws, len(count)), dtype=np.int32)
    for size in sets:
        # The `size` smallest of K random numbers are a random set of that size.
        ranks = generator.random((draws, len(count)), dtype=np.float32).argpartition(min(size, len(count) - 1), axis=1)
        np.put_along_axis(simulated, ranks[:, :size], np.take_along_axis(simulated, ranks[:, :size], 1) + 1, axis=1)
    larger = (((simulated - expected) ** 2).sum(axis=1) / expected >= chi2 * (1 - 1e-9)).sum()
    return chi2, float((1 + larger) / (1 + draws))
