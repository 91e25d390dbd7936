"""The layers of the neutral model language as records.

A plugin author finds them, with optimizers and losses, in `fwprof.plugin.layers`.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from fwprof.records.base import Record

Positive = Annotated[int, msgspec.Meta(ge=1)]
NotNegative = Annotated[int, msgspec.Meta(ge=0)]
Fraction = Annotated[float, msgspec.Meta(ge=0, lt=1)]
Name = Annotated[str, msgspec.Meta(pattern=r"^[a-z0-9][a-z0-9_.-]*$", max_length=64)]
ActivationName = Literal["relu", "gelu", "tanh", "sigmoid", "softmax"]
"""`gelu` is the exact form, x·Φ(x), not the tanh approximation."""


class LayerBase(Record, frozen=True, kw_only=True, tag_field="kind"):
    """One layer. Shapes leave out the batch dimension; images are (height, width, channels)."""


class Dense(LayerBase, frozen=True, kw_only=True, tag="dense"):
    """y = x·kernel + bias over the last axis. kernel (in, units), bias (units,)."""

    units: Positive
    activation: ActivationName | None = None
    use_bias: bool = True
    lora_rank: Positive | None = None
    """Low-rank adaptation: kernel and bias are frozen, lora_a (in, rank) and lora_b (rank, units) are
    trained, y = x·kernel + bias + (x·lora_a)·lora_b.

    Source: Hu et al., LoRA: Low-Rank Adaptation of Large Language Models, 2021, section 4.1, with
    the scale α/r = 1.
    """


class Conv2d(LayerBase, frozen=True, kw_only=True, tag="conv2d"):
    """2-D cross-correlation. kernel (size, size, in, filters), bias (filters,).

    `same` pads with zeros so that the output is ceil(input / stride), the odd pixel at the end; a
    number pads so many pixels on every side.
    """

    filters: Positive
    size: Positive
    stride: Positive = 1
    padding: Literal["valid", "same"] | NotNegative = "valid"
    activation: ActivationName | None = None
    use_bias: bool = True


class Conv1d(LayerBase, frozen=True, kw_only=True, tag="conv1d"):
    """1-D cross-correlation over (length, channels). kernel (size, channels, filters), bias (filters,).

    `same` pads as in `conv2d`.
    """

    filters: Positive
    size: Positive
    stride: Positive = 1
    padding: Literal["valid", "same"] = "valid"
    activation: ActivationName | None = None
    use_bias: bool = True


class MaxPool2d(LayerBase, frozen=True, kw_only=True, tag="max_pool2d"):
    """Maximum over windows of size × size, `stride` apart (None: size), no window over the far edge.

    `padding`: so many pixels on every side that no window ever takes.
    """

    size: Positive
    stride: Positive | None = None
    padding: NotNegative = 0


class AveragePool2d(LayerBase, frozen=True, kw_only=True, tag="average_pool2d"):
    """Mean over windows of size × size; stride = size; no padding."""

    size: Positive


class Flatten(LayerBase, frozen=True, kw_only=True, tag="flatten"):
    """All axes into one, last axis fastest (of the (height, width, channels) layout)."""


class Activation(LayerBase, frozen=True, kw_only=True, tag="activation"):
    """An elementwise function (softmax: over the last axis)."""

    function: ActivationName


class Dropout(LayerBase, frozen=True, kw_only=True, tag="dropout"):
    """Zero a share `rate` of the elements in training, scaling the rest by 1/(1 − rate)."""

    rate: Fraction


class BatchNorm(LayerBase, frozen=True, kw_only=True, tag="batch_norm"):
    """Normalise over all axes but the last. gamma, beta, moving_mean, moving_variance (channels,).

    `momentum` is the share of the old moving statistic that is kept. In canonical form the moving
    variance is averaged from the biased batch variance.
    """

    momentum: Fraction = 0.9
    epsilon: float = 1e-5


class LayerNorm(LayerBase, frozen=True, kw_only=True, tag="layer_norm"):
    """Normalise over the last axis. gamma, beta (channels,)."""

    epsilon: float = 1e-5


class Embedding(LayerBase, frozen=True, kw_only=True, tag="embedding"):
    """Rows of a table: table (vocabulary, units). Input: integer ids."""

    vocabulary: Positive
    units: Positive


class PositionEmbedding(LayerBase, frozen=True, kw_only=True, tag="position_embedding"):
    """Add a learned vector a position: table (length, channels). Input (length, channels)."""


class Attention(LayerBase, frozen=True, kw_only=True, tag="attention"):
    """Multi-head self-attention over (length, channels); scale 1/√(channels/heads).

    query_kernel, key_kernel, value_kernel, output_kernel (channels, channels), with query_bias …
    output_bias (channels,); heads split the last axis into (heads, channels/heads).
    """

    heads: Positive
    causal: bool = False


class Lstm(LayerBase, frozen=True, kw_only=True, tag="lstm"):
    """Long short-term memory over (length, channels), from zero states; no mask.

    kernel (channels, 4·units), recurrent_kernel (units, 4·units), bias (4·units,): the gates lie
    side by side in the order input, forget, candidate, output (i, f, g, o), with one bias. Sigmoid
    gates; tanh for the candidate and the output. Gives (units,), the last output, or with
    `return_sequences` (length, units).

    Source: Hochreiter & Schmidhuber 1997 with the forget gate of Gers, Schmidhuber & Cummins 2000.
    """

    units: Positive
    return_sequences: bool = False


class Gru(LayerBase, frozen=True, kw_only=True, tag="gru"):
    """Gated recurrent unit over (length, channels), from a zero state; no mask.

    kernel (channels, 3·units), recurrent_kernel (units, 3·units), bias (3·units,), recurrent_bias
    (3·units,): the gates lie side by side in the order update, reset, candidate (z, r, h). The
    reset gate is applied after the recurrent product and its bias:

        h̃ = tanh(x·W + b + r∘(h·U + c)),  h ← z∘h + (1 − z)∘h̃

    Gives what `lstm` gives.

    Source: Cho et al., Learning Phrase Representations using RNN Encoder–Decoder, 2014; the reset
    gate after the product as in its authors' reference code.
    """

    units: Positive
    return_sequences: bool = False


class AverageOverSequence(LayerBase, frozen=True, kw_only=True, tag="average_over_sequence"):
    """Mean over the first (sequence) axis: (length, channels) → (channels,)."""


class MaxOverSequence(LayerBase, frozen=True, kw_only=True, tag="max_over_sequence"):
    """Maximum over the first (sequence) axis: (length, channels) → (channels,)."""


class FirstOfSequence(LayerBase, frozen=True, kw_only=True, tag="first_of_sequence"):
    """The first position alone: (length, channels) → (channels,)."""


class AverageOverImage(LayerBase, frozen=True, kw_only=True, tag="average_over_image"):
    """Mean over all pixels: (height, width, channels) → (channels,)."""


class PairwiseProducts(LayerBase, frozen=True, kw_only=True, tag="pairwise_products"):
    """The inner products of all pairs of rows i < j: (n, channels) → (n·(n − 1)/2,).

    In the order (0, 1), (0, 2) … (0, n − 1), (1, 2) …

    Source: Naumov et al., Deep Learning Recommendation Model, 2019, section 2.1.
    """


class TiedDense(LayerBase, frozen=True, kw_only=True, tag="tied_dense"):
    """y = x·tableᵀ with the table of the first embedding: (…, units) → (…, vocabulary). No bias.

    Source: Press & Wolf, Using the Output Embedding to Improve Language Models, 2017.
    """


class Chain(LayerBase, frozen=True, kw_only=True, tag="chain"):
    """The layers one after another, as one branch of several. Without layers: what it is given."""

    layers: tuple[Layer, ...] = ()


class Branches(LayerBase, frozen=True, kw_only=True, tag="branches"):
    """Each of the layers is given the same; their outputs are joined.

    `concatenate` joins along the last axis, `add` adds outputs of one shape.
    """

    layers: Annotated[tuple[Layer, ...], msgspec.Meta(min_length=2)]
    join: Literal["concatenate", "add"] = "concatenate"


class Frozen(LayerBase, frozen=True, kw_only=True, tag="frozen"):
    """The layers with parameters that are not trained; a frozen batch norm keeps its statistics.

    Gone after resolution: plugins see its layers with `is_frozen`.
    """

    layers: tuple[Layer, ...]


class Residual(LayerBase, frozen=True, kw_only=True, tag="residual"):
    """x + layers(x); the inner layers keep the shape."""

    layers: tuple[Layer, ...]


class Repeat(LayerBase, frozen=True, kw_only=True, tag="repeat"):
    """The same layers `times` times one after another, each with its own weights.

    Gone after resolution: plugins never see it.
    """

    times: Annotated[int, msgspec.Meta(ge=1, le=1000)]
    layers: tuple[Layer, ...]


Layer = (
    Dense
    | Conv2d
    | Conv1d
    | MaxPool2d
    | AveragePool2d
    | Flatten
    | Activation
    | Dropout
    | BatchNorm
    | LayerNorm
    | Embedding
    | PositionEmbedding
    | Attention
    | Lstm
    | Gru
    | AverageOverSequence
    | MaxOverSequence
    | FirstOfSequence
    | AverageOverImage
    | PairwiseProducts
    | TiedDense
    | Chain
    | Branches
    | Frozen
    | Residual
    | Repeat
)
