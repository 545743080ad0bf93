"""Log-logistic survival regression with a share that never has the event (a mixture cure model), fitted with ridge.

A run has the event at all with probability π = 1/(1 + exp(−η)), and then log t has a logistic distribution with mean μ and scale σ; η and μ
are linear in the features. Mixture cure models: Boag 1949, Farewell 1982; log-logistic regression: Bennett 1983.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float64

Features = Float64[np.ndarray, "run feature"]
Times = Float64[np.ndarray, " run"]
Happened = Bool[np.ndarray, " run"]
Parameters = Float64[np.ndarray, " parameter"]

#: Ridge on the intercept of η and on log σ: keeps them finite where all runs, or none, have the event.
SMALL = 1e-3
STEPS = 100
TOLERANCE = 1e-4


@dataclass(frozen=True)
class CureModel:
    """A fitted model. parameters: [intercept and coefficients of η, intercept and coefficients of μ, log σ]."""

    parameters: Parameters

    def predictors(self, x: Features) -> tuple[Times, Times, float]:
        """η and μ of each run, (run), and σ."""
        eta, mu, log_sigma = _split(self.parameters, x)
        return eta, mu, float(np.exp(log_sigma))

    def event(self, x: Features) -> Times:
        """π, the probability that the event ever happens, (run)."""
        return sigmoid(self.predictors(x)[0])

    def reached(self, x: Features, t: Float64[np.ndarray, " time"]) -> Float64[np.ndarray, "run time"]:
        """The probability that the event of a run that has one is at t or before, F(t | x)."""
        _, mu, sigma = self.predictors(x)
        return sigmoid((np.log(t) - mu[:, None]) / sigma)

    def survival(self, x: Features, t: Float64[np.ndarray, " time"]) -> Float64[np.ndarray, "run time"]:
        """The probability of no event up to t, 1 − π F(t | x)."""
        return 1 - self.event(x)[:, None] * self.reached(x, t)

    def time_of(self, x: Features, share: Times) -> Times:
        """The time t with F(t | x) = share, one share for each run."""
        _, mu, sigma = self.predictors(x)
        with np.errstate(divide="ignore", over="ignore"):  # shares of 0 and 1
            return np.exp(mu + sigma * (np.log(share) - np.log1p(-share)))


def fit(x: Features, time: Times, happened: Happened, ridge: float, start: CureModel | None = None) -> CureModel:
    """The model with the highest likelihood, less ridge/2 times the squared coefficients for each run. Features are standardized by the
    caller. Times are positive; where the event did not happen, the run is censored.

    start: where the search begins, such as the model of another ridge
    """
    first = _plain_start(x, time, happened) if start is None else start.parameters
    return CureModel(_bfgs(first, x, time, happened, ridge))


def log_likelihood(parameters: Parameters, x: Features, time: Times, happened: Happened) -> tuple[float, Parameters]:
    """Mean log-likelihood of censored times, and its gradient: log π f(t) with an event, log(1 − π F(t)) without."""
    eta, mu, log_sigma = _split(parameters, x)
    sigma = np.exp(log_sigma)
    z = (np.log(time) - mu) / sigma
    none, late = sigmoid(-eta), sigmoid(-z)  # 1 − π, 1 − F
    some, early = sigmoid(eta), sigmoid(z)
    free = none + some * late
    value = np.where(
        happened,
        -np.logaddexp(0, -eta) - np.logaddexp(0, -z) - np.logaddexp(0, z) - log_sigma - np.log(time),
        np.log(np.maximum(free, 1e-300)),
    )
    odds = some / np.maximum(free, 1e-300)
    by_eta = np.where(happened, none, -early * none * odds)
    by_z = np.where(happened, late - early, -early * late * odds)
    by_mu = -by_z / sigma
    n = len(time)
    gradient = np.concatenate(
        [
            [by_eta.sum()],
            by_eta @ x,
            [by_mu.sum()],
            by_mu @ x,
            [-(by_z * z).sum() - happened.sum()],
        ]
    )
    return float(value.mean()), gradient / n


def sigmoid(value: Float64[np.ndarray, "*any"]) -> Float64[np.ndarray, "*any"]:
    """1/(1 + exp(−value)), precise at both ends.

    >>> sigmoid(np.array([-800.0, 0.0, 800.0]))
    array([0. , 0.5, 1. ])
    """
    return np.exp(-np.logaddexp(0, -value))


def _split(parameters: Parameters, x: Features) -> tuple[Times, Times, float]:
    d = x.shape[1]
    eta = parameters[0] + x @ parameters[1 : d + 1]
    mu = parameters[d + 1] + x @ parameters[d + 2 : 2 * d + 2]
    return eta, mu, float(parameters[-1])


def _plain_start(x: Features, time: Times, happened: Happened) -> Parameters:
    """Without features: the share of events, and mean and scale of their log times."""
    d = x.shape[1]
    first = np.zeros(2 * d + 3)
    share = (happened.sum() + 0.5) / (len(time) + 1)
    log_time = np.log(time[happened]) if happened.any() else np.log(time)
    first[0] = np.log(share / (1 - share))
    first[d + 1] = log_time.mean()
    first[-1] = np.log(0.55 * log_time.std() + 0.05)  # a logistic distribution has deviation 1.8 σ
    return first


def _bfgs(first: Parameters, x: Features, time: Times, happened: Happened, ridge: float) -> Parameters:
    """Minimum of the penalized loss by BFGS with backtracking (Nocedal and Wright 2006, algorithm 6.1)."""
    d = x.shape[1]
    penalty = np.full(len(first), ridge)
    penalty[[0, -1]] = SMALL
    penalty[d + 1] = 0

    def loss(at: Parameters) -> tuple[float, Parameters]:
        value, gradient = log_likelihood(at, x, time, happened)
        return -value + 0.5 * float(penalty @ at**2), -gradient + penalty * at

    at = first
    value, gradient = loss(at)
    inverse = np.eye(len(first))
    for _ in range(STEPS):
        if np.abs(gradient).max() < TOLERANCE:
            break
        step = -inverse @ gradient
        slope = float(step @ gradient)
        if slope >= 0:
            inverse, step, slope = np.eye(len(first)), -gradient, -float(gradient @ gradient)
        length = min(1.0, 3 / float(np.abs(step).max()))
        following, after = loss(at + length * step)
        while not following <= value + 1e-4 * length * slope and length > 1e-10:
            length /= 2
            following, after = loss(at + length * step)
        moved, change = length * step, after - gradient
        at, value, gradient = at + moved, following, after
        if (curvature := float(moved @ change)) > 1e-12:
            by = inverse @ change
            inverse += (1 + change @ by / curvature) * np.outer(moved, moved) / curvature
            inverse -= (np.outer(by, moved) + np.outer(moved, by)) / curvature
    return at
