"""Kinds of network: what each is called, which weights it has, and what can be said of it.

A kind is declared here, in pure Python, so that settings and help are quick to read. What it computes is in the module
that it names, loaded when first asked for (`Network.computation`).

Capabilities, which analyses, panels and engines ask for:

closed form      one layer, so that any neuron's map is exact from a few tables (`tdw.network.closed_form`)
attention        one layer of attention, whose pattern is a function of the pair
embedding        both operands share one embedding
operand weights  each neuron has a weight of its own for each value of each operand
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from tdw.registry import Registry
from tdw.setting import NoSettings, setting

if TYPE_CHECKING:
    from tdw.config import RunConfig
    from tdw.network.computation import Computation

CAPABILITIES = ("closed form", "attention", "embedding", "operand weights")


@dataclass(frozen=True)
class Weight:
    """One weight: its shape, and its role: embedding, attention, mlp or unembedding. A bias has one axis."""

    shape: tuple[int, ...]
    role: str


class Network(ABC):
    """A kind of network.

    settings: a dataclass of the settings that belong to it alone
    tokens:   the tokens of its sequence; none for a network that reads no sequence
    lacks:    for each capability that it does not have, a sentence that says why
    module:   where its `COMPUTATION` is
    """

    name: str
    settings: type = NoSettings
    tokens: tuple[str, ...] = ()
    capabilities: frozenset[str]
    lacks: Mapping[str, str] = MappingProxyType({})
    module: str

    @abstractmethod
    def weights(self, config: RunConfig) -> dict[str, Weight]:
        """Each weight by name, in the order in which initial weights are drawn."""

    @abstractmethod
    def recognizes(self, weights: Mapping[str, Any]) -> bool:
        """Whether weights, by their names and shapes, are of this kind."""

    def deviation(self, name: str, config: RunConfig) -> float:  # noqa: ARG002 - other kinds go by the name
        """Standard deviation of a weight before training; that of a bias is not asked for."""
        return 0.8 / config.d_model**0.5

    @property
    def computation(self) -> Computation:
        """What the network computes. Loads numpy."""
        found: Computation = importlib.import_module(self.module).COMPUTATION
        return found

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


class Transformer(Network):
    """One layer without normalization on the three tokens `a b =`; the answer is read at `=`."""

    name = "transformer"
    tokens: tuple[str, ...] = ("a", "b", "=")
    capabilities = frozenset({"closed form", "attention", "embedding"})
    lacks = MappingProxyType({"operand weights": "It needs a one-hot MLP; the network is a transformer."})
    module = "tdw.network.transformer"

    def layers(self, config: RunConfig) -> int:  # noqa: ARG002 - deeper kinds have a setting for it
        """Number of layers."""
        return 1

    def weights(self, config: RunConfig) -> dict[str, Weight]:
        """TransformerLens' names, in its order."""
        d, d_mlp, vocabulary = config.d_model, config.d_mlp, config.p + ("=" in self.tokens)
        into_head = Weight((config.heads, d, config.d_head), "attention")
        declared = {
            "embed.W_E": Weight((vocabulary, d), "embedding"),
            "pos_embed.W_pos": Weight((len(self.tokens), d), "embedding"),
        }
        for layer in range(self.layers(config)):
            block = f"blocks.{layer}."
            declared |= {
                f"{block}attn.W_Q": into_head,
                f"{block}attn.W_O": Weight((config.heads, config.d_head, d), "attention"),
                f"{block}attn.W_K": into_head,
                f"{block}attn.W_V": into_head,
                f"{block}mlp.W_in": Weight((d, d_mlp), "mlp"),
                f"{block}mlp.W_out": Weight((d_mlp, d), "mlp"),
            }
        declared["unembed.W_U"] = Weight((d, config.outputs), "unembedding")
        if config.biases == "mlp":
            for layer in range(self.layers(config)):
                declared |= {
                    f"blocks.{layer}.mlp.b_in": Weight((d_mlp,), "mlp"),
                    f"blocks.{layer}.mlp.b_out": Weight((d,), "mlp"),
                }
        return declared

    def recognizes(self, weights: Mapping[str, Any]) -> bool:
        """By the number of positions and layers."""
        position = weights.get("pos_embed.W_pos")
        return position is not None and position.shape[0] == len(self.tokens) and "blocks.1.attn.W_Q" not in weights


class TwoToken(Transformer):
    """The same on the two tokens `a b`; the answer is read at `b`."""

    name = "two-token"
    tokens = ("a", "b")
    module = "tdw.network.two_token"


class OneHot(Network):
    """An MLP with one hidden layer on the concatenated one-hot vectors of a and b."""

    name = "one-hot"
    capabilities = frozenset({"closed form", "operand weights"})
    lacks = MappingProxyType(
        {
            "attention": "A one-hot MLP has no attention.",
            "embedding": "A one-hot MLP has separate input weights for a and b, and no shared embedding.",
        }
    )
    module = "tdw.network.one_hot"

    def weights(self, config: RunConfig) -> dict[str, Weight]:
        """Names of ours: TransformerLens has no such network."""
        declared = {
            "mlp.W_in": Weight((2 * config.p, config.d_mlp), "mlp"),
            "mlp.W_out": Weight((config.d_mlp, config.outputs), "mlp"),
        }
        if config.biases == "mlp":
            declared |= {"mlp.b_in": Weight((config.d_mlp,), "mlp"), "mlp.b_out": Weight((config.outputs,), "mlp")}
        return declared

    def recognizes(self, weights: Mapping[str, Any]) -> bool:
        """By its names."""
        return "mlp.W_in" in weights

    def deviation(self, name: str, config: RunConfig) -> float:
        """1 over the square root of a layer's active inputs, of which the first layer has 2."""
        return float((2 if name == "mlp.W_in" else config.d_mlp) ** -0.5)


@dataclass(frozen=True, kw_only=True)
class DeepSettings:
    """The settings of deep transformers alone."""

    layers: int = setting(2, "layers of a deep transformer", within=(2, 8))


class DeepTransformer(Transformer):
    """Several layers without normalization on the tokens `a b =`; trained by autograd, as it has no closed form."""

    name = "deep-transformer"
    settings = DeepSettings
    capabilities = frozenset({"embedding"})
    lacks = MappingProxyType(
        {
            "closed form": "It needs the closed form of a single layer; this transformer has several layers.",
            "attention": "It needs the attention of a single layer; this transformer has several layers.",
            **Transformer.lacks,
        }
    )
    module = "tdw.network.deep_transformer"

    def layers(self, config: RunConfig) -> int:
        """As set."""
        return config.layers

    def recognizes(self, weights: Mapping[str, Any]) -> bool:
        """By its second layer."""
        return "blocks.1.attn.W_Q" in weights


@dataclass(frozen=True, kw_only=True)
class NetworkSettings(DeepSettings):
    """The settings that belong to single kinds of network."""


NETWORKS: Registry[Network] = Registry("network")
NETWORKS.register(Transformer())
NETWORKS.register(TwoToken())
NETWORKS.register(OneHot())
NETWORKS.register(DeepTransformer())


def network_of(weights: Mapping[str, Any]) -> Network:
    """The kind of network that weights, by their names and shapes, belong to."""
    return next(kind for kind in NETWORKS.values() if kind.recognizes(weights))
