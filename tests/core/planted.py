"""Networks with given neurons, logits or weights, and slow, direct implementations of the analyses."""

import itertools
import math

import numpy as np

import tdw
from tdw import tasks
from tdw.analyses import find
from tdw.analyses.engine import registry
from tdw.analyses.engine.checkpoint import Checkpoint
from tdw.analyses.key_frequencies import RULES
from tdw.network import reference
from tdw.tasks import Split, is_prime

MODULI = [2, 3, 4, 5, 6, 7, 59, 113, 118]
SMALL = {"d_model": 4, "heads": 1, "d_mlp": 4, "train_fraction": 0.5}


class Planted(Checkpoint):
    """A checkpoint with some intermediate results (`activations`, `logits`, `attention`) given instead of computed."""

    def __init__(self, config, split=None, final_key=None, **given):
        weights = {name: w.numpy() for name, w in reference.initial_weights(config).items()}
        super().__init__(config, weights, split, final_key)
        for name, array in given.items():
            setattr(self, name, np.asarray(array, dtype=np.float32))


def measure(name, view):
    return registry.evaluate(find(name), view, view.config)


def of_neurons(neurons, **settings):
    """A checkpoint with these activations (a, b, neuron)."""
    config = tdw.configure(**SMALL | {"p": neurons.shape[0], "d_mlp": neurons.shape[2]} | settings)
    return Planted(config, activations=neurons)


def of_logits(logits, config, *, split=None, keys=()):
    """A checkpoint with these logits (a, b, c) in natural order, and these key frequencies by every rule."""
    final = np.zeros((len(RULES), config.frequencies), np.uint8)
    final[:, [k - 1 for k in keys]] = 1
    return Planted(config, split, final, logits=logits)


def places(config):
    """The group index of each operand: the operand itself, or its discrete logarithm, which 0 does not have."""
    if config.task not in ("multiply", "divide"):
        return {x: x for x in range(config.p)}
    return {int(x): place for place, x in enumerate(tasks.elements(config))}


def answer_place(config, i, j):
    return (i - j if config.task in ("subtract", "divide") else i + j) % config.order


def cosine_sum(config, coefficients):
    """Logits Σ α_k cos(w_k(a ± b − c)), in natural order; for products by logarithms, 0 where an operand or answer is 0."""
    p, order, where = config.p, config.order, places(config)
    logits = np.zeros((p, p, p))
    wave = [sum(x * math.cos(2 * math.pi * k * t / order) for k, x in coefficients.items()) for t in range(order)]
    wave = np.array(wave)
    elements = np.array(sorted(where, key=where.get))
    i, j, c = np.ogrid[:order, :order, :order]
    logits[np.ix_(elements, elements, elements)] = wave[(answer_place(config, i, j) - c) % order]
    return logits


def random_split(p, seed, share=0.4):
    """A share of the pairs for training, the others for testing; one pair is left out if there are enough."""
    pairs = np.random.default_rng(seed).permutation(p * p)
    cut = max(int(share * p * p), 1)
    return Split(pairs[:cut], pairs[cut : max(p * p - 1, cut + 1)])


def arithmetic():
    """Settings of all tasks with a group, for small moduli, because the direct implementations are slow."""
    for p, task in itertools.product([2, 3, 4, 5, 6, 7], ["add", "subtract", "multiply", "divide"]):
        if task not in ("multiply", "divide") or (is_prime(p) and p > 2):
            yield tdw.configure(**SMALL, p=p, task=task)


def slow_cross_entropy(logits, answer):
    """log(1 + Σ_{c≠y} exp(L_c − L_y)), term by term."""
    others = math.fsum(math.exp(float(x) - float(logits[answer])) for c, x in enumerate(logits) if c != answer)
    return math.log1p(others)


def waves(k, order):
    """cos(w_k x) and sin(w_k x) as lists; only the cosine for frequency p/2."""
    both = [[f(2 * math.pi * k * x / order) for x in range(order)] for f in (math.cos, math.sin)]
    return both[:1] if 2 * k == order else both


class Slow:
    """Projections of the logits by explicit unit vectors over all pairs, in float64."""

    def __init__(self, config, logits, split):
        self.config, self.order = config, config.order
        self.where = places(config)
        self.pairs = [(a, b) for a in range(config.p) for b in range(config.p) if a in self.where and b in self.where]
        self.elements = sorted(self.where, key=self.where.get)
        self.sums = [answer_place(config, self.where[a], self.where[b]) for a, b in self.pairs]
        self.logits = np.array([[float(logits[a, b, c]) for c in self.elements] for a, b in self.pairs])
        index = {a * config.p + b: n for n, (a, b) in enumerate(self.pairs)}
        self.split_masks = [range(len(self.pairs)), *([index[i] for i in side if i in index] for side in split)]

    def projection(self, vectors):
        """The part of the logits along functions of the pairs, separately for each class."""
        part = np.zeros_like(self.logits)
        for vector in np.array(vectors):
            unit = vector / np.linalg.norm(vector)
            part += np.outer(unit, unit @ self.logits)
        return part

    def of_sums(self, keys):
        return self.projection([[wave[s] for s in self.sums] for k in keys for wave in waves(k, self.order)])

    def of_block(self, keys, *, constant):
        vectors = []
        for k in keys:
            both = waves(k, self.order)
            group = [[1.0] * self.order, *both] if constant else both
            for of_a, of_b in itertools.product(group, group):
                if (of_a in both) or (of_b in both):
                    vectors.append([of_a[self.where[a]] * of_b[self.where[b]] for a, b in self.pairs])
        return self.projection(vectors)

    def templates(self, keys):
        """cos(w_k(a+b−c)) for every pair and answer, (keys, pairs, answers)."""
        t = np.array(self.sums)[:, None] - np.arange(self.order)
        return np.array([np.cos(2 * np.pi * k * t / self.order) for k in keys])

    def restricted(self, variant, keys):
        if variant == "logit_fit":
            if not keys:
                return self.losses(np.zeros_like(self.logits))
            design = self.templates(keys).reshape(len(keys), -1).T
            fit = design @ np.linalg.lstsq(design, self.logits.ravel(), rcond=None)[0]
            return self.losses(fit.reshape(self.logits.shape))
        part = {
            "sum_directions": lambda: self.of_sums(keys),
            "block_2x2": lambda: self.of_block(keys, constant=False),
            "block_3x3": lambda: self.of_block(keys, constant=True),
        }[variant]()
        return self.losses(part + (self.logits - part).mean(axis=0))

    def losses(self, logits):
        """Mean cross-entropy of all, train and test pairs."""
        each = [slow_cross_entropy(row, s) for row, s in zip(logits, self.sums, strict=True)]
        return [np.mean([each[n] for n in side]) if len(side) else math.nan for side in self.split_masks]
