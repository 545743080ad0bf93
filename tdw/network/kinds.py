"""Kinds of network: the name, weights and capabilities of each.

Kinds are declared here in pure Python, so that settings and help load fast. The module that implements a kind is loaded
on first use (`Network.computation`).

Capabilities, required by analyses, panels and engines:

closed form      one layer, so that small tables determine every neuron's activation map (`tdw.network.closed_form`)
attention        one layer of attention, whose pattern is a function of the pair
embedding        both operands share one embedding
operand weights  each neuron has one input weight per value of each operand
"""

from __future__ import annotations

import importlib
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, NamedTuple

from tdw.registry import Registry
from tdw.setting import NoSettings, setting

if TYPE_CHECKING:
    from tdw.config import RunConfig
    from tdw.network.computation import Computation

CAPABILITIES = ("closed form", "attention", "embedding", "operand weights")


class Nonlinearity(NamedTuple):
    """What a network computes with its weights, where neither their names nor their shapes tell.

    activation:     the activation function of the MLP
    attention_rate: c in the attention c * softmax + (1 - c), of Zhong et al. 2023; 1 is ordinary attention, and at 0 all
                    tokens have the weight 1
    """

    activation: str = "relu"
    attention_rate: float = 1.0

    @classmethod
    def of(cls, settings: Mapping[str, Any]) -> Nonlinearity:
        """That of settings by name, with the defaults for missing ones."""
        return cls(**{name: settings[name] for name in cls._fields if name in settings})


class ByOperand(NamedTuple):
    """Where the entries of a weight belong to single operands, or to single answers.

    axis:   along which the operands or answers are
    starts: the index of operand or answer 0 on it; several where there is more than one set of them
    """

    axis: int
    starts: tuple[int, ...] = (0,)


@dataclass(frozen=True)
class Weight:
    """One weight: its shape, and its role (embedding, attention, mlp or unembedding). A bias has one axis.

    by_operand: where its entries belong to single operands or answers; None if they do not
    """

    shape: tuple[int, ...]
    role: str
    by_operand: ByOperand | None = None


class Network(ABC):
    """A kind of network.

    settings: a dataclass of the settings specific to this kind
    tokens:   the tokens of its sequence; empty for a network that does not read a sequence
    lacks:    for each missing capability, a sentence that gives the reason
    module:   the module that defines its `COMPUTATION`
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
        """Whether weights are of this kind, judged by their names and shapes."""

    def deviation(self, name: str, config: RunConfig) -> float:  # noqa: ARG002 - other kinds use the name
        """Standard deviation of a weight at initialization. Not called for biases, which start at 0."""
        return 0.8 / config.d_model**0.5

    @property
    def computation(self) -> Computation:
        """The implementation of this kind. Imports numpy."""
        computation: Computation = importlib.import_module(self.module).COMPUTATION
        return computation

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self.name}>"


@dataclass(frozen=True, kw_only=True)
class AttentionSettings:
    """The settings specific to transformers."""

    attention_rate: float = setting(
        1.0, "c in the attention c * softmax + (1 - c); 1: ordinary attention", within=(0, 1), implied=True
    )


class Transformer(Network):
    """One layer without normalization on the three tokens `a b =`; the answer is read at `=`."""

    name = "transformer"
    settings: type = AttentionSettings
    tokens: tuple[str, ...] = ("a", "b", "=")
    capabilities = frozenset({"closed form", "attention", "embedding"})
    lacks = MappingProxyType({"operand weights": "It needs a one-hot MLP; the network is a transformer."})
    module = "tdw.network.transformer"

    def layers(self, config: RunConfig) -> int:  # noqa: ARG002 - deep transformers have a setting for it
        """Number of layers."""
        return 1

    def weights(self, config: RunConfig) -> dict[str, Weight]:
        """Named and ordered as in TransformerLens."""
        d, d_mlp, vocabulary = config.d_model, config.d_mlp, config.p + ("=" in self.tokens)
        into_head = Weight((config.heads, d, config.d_head), "attention")
        declared = {
            "embed.W_E": Weight((vocabulary, d), "embedding", ByOperand(0)),
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
        declared["unembed.W_U"] = Weight((d, config.outputs), "unembedding", ByOperand(1))
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
    """One layer without normalization on the two tokens `a b`; the answer is read at `b`."""

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
        """The names are specific to this program, because TransformerLens has no MLP on one-hot pairs."""
        declared = {
            "mlp.W_in": Weight((2 * config.p, config.d_mlp), "mlp", ByOperand(0, (0, config.p))),
            "mlp.W_out": Weight((config.d_mlp, config.outputs), "mlp", ByOperand(1)),
        }
        if config.biases == "mlp":
            declared |= {
                "mlp.b_in": Weight((config.d_mlp,), "mlp"),
                "mlp.b_out": Weight((config.outputs,), "mlp", ByOperand(0)),
            }
        return declared

    def recognizes(self, weights: Mapping[str, Any]) -> bool:
        """By the names of its weights."""
        return "mlp.W_in" in weights

    def deviation(self, name: str, config: RunConfig) -> float:
        """1 over the square root of a layer's active inputs, of which the first layer has 2."""
        return float((2 if name == "mlp.W_in" else config.d_mlp) ** -0.5)


@dataclass(frozen=True, kw_only=True)
class DeepSettings(AttentionSettings):
    """The settings specific to deep transformers."""

    layers: int = setting(2, "number of layers of a deep transformer", within=(2, 8))


class DeepTransformer(Transformer):
    """Several layers without normalization on the tokens `a b =`. Has no closed form, so it is trained by autograd."""

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
        """Number of layers."""
        return config.layers

    def recognizes(self, weights: Mapping[str, Any]) -> bool:
        """By its second layer."""
        return "blocks.1.attn.W_Q" in weights


@dataclass(frozen=True, kw_only=True)
class NetworkSettings(DeepSettings):
    """The settings specific to single kinds of network."""


NETWORKS: Registry[Network] = Registry("network")
NETWORKS.register(Transformer())
NETWORKS.register(TwoToken())
NETWORKS.register(OneHot())
NETWORKS.register(DeepTransformer())


def network_of(weights: Mapping[str, Any]) -> Network:
    """The kind of network these weights belong to, judged by their names and shapes."""
    return next(kind for kind in NETWORKS.values() if kind.recognizes(weights))
