"""The neutral model language as records: layers, loss, optimizer, data.

A workload YAML file decodes into `Workload`; `fwprof.workloads` resolves its shapes into
`ResolvedLayer`s, which travel in the plan. Nothing here knows a framework.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from fwprof.records.base import Record

Positive = Annotated[int, msgspec.Meta(ge=1)]
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


class Conv2d(LayerBase, frozen=True, kw_only=True, tag="conv2d"):
    """2-D cross-correlation. kernel (size, size, in, filters), bias (filters,).

    `same` pads so that the output is ceil(input / stride), the odd pixel at the end.
    """

    filters: Positive
    size: Positive
    stride: Positive = 1
    padding: Literal["valid", "same"] = "valid"
    activation: ActivationName | None = None
    use_bias: bool = True


class MaxPool2d(LayerBase, frozen=True, kw_only=True, tag="max_pool2d"):
    """Maximum over windows of size × size; stride = size; no padding."""

    size: Positive


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


class AverageOverSequence(LayerBase, frozen=True, kw_only=True, tag="average_over_sequence"):
    """Mean over the first (sequence) axis: (length, channels) → (channels,)."""


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
    | AverageOverSequence
    | Residual
    | Repeat
)


class Sgd(Record, frozen=True, kw_only=True, tag_field="kind", tag="sgd"):
    """w ← w − lr·v, v ← momentum·v + g (v = g where momentum is 0)."""

    learning_rate: Annotated[float, msgspec.Meta(gt=0)]
    momentum: Fraction = 0.0


class Adam(Record, frozen=True, kw_only=True, tag_field="kind", tag="adam"):
    """Adam (Kingma & Ba 2015); AdamW where weight_decay > 0 (Loshchilov & Hutter 2019).

    Timed, each framework uses its own Adam. Verified, all take one form, that of the end of
    section 2 of the paper, in which the bias corrections are folded into the step:

        w ← w − lr·√(1 − β₂ᵗ)/(1 − β₁ᵗ) · m/(√v + ε)

    A framework that has √v̂ + ε instead gets there with ε/√(1 − β₂ᵗ) in place of ε at step t.
    """

    learning_rate: Annotated[float, msgspec.Meta(gt=0)]
    beta_1: Fraction = 0.9
    beta_2: Fraction = 0.999
    epsilon: Annotated[float, msgspec.Meta(gt=0)] = 1e-7
    weight_decay: Annotated[float, msgspec.Meta(ge=0)] = 0.0


Optimizer = Sgd | Adam

Loss = Literal["cross_entropy", "binary_cross_entropy"]
"""On logits (batch, classes), as a mean. `cross_entropy`: softmax, targets (batch,) int64.
`binary_cross_entropy`: sigmoid, over batch and classes, targets (batch, classes) float32 of 0 and 1.
"""


class InputSpec(Record, frozen=True, kw_only=True):
    """What one sample looks like, without the batch dimension."""

    shape: Annotated[tuple[Positive, ...], msgspec.Meta(min_length=1, max_length=4)]
    dtype: Literal["float32", "int64"] = "float32"


class SyntheticData(Record, frozen=True, kw_only=True, tag_field="source", tag="synthetic"):
    """Made from the seed: standard normal inputs, or Zipf-distributed ids (exponent 1).

    Source (Zipf for text): Zipf, Human Behavior and the Principle of Least Effort, 1949.
    """

    samples: Positive = 2048
    min_length: Positive | None = None
    """Of ids: sequences have any length from here to the full one, equally likely, and are padded in
    front with id 0, so that a recurrent layer ends on what was drawn; no layer masks the padding.
    None: all of full length, and id 0 is one like the others."""


class DigitsData(Record, frozen=True, kw_only=True, tag_field="source", tag="digits"):
    """scikit-learn's 1,797 real handwritten 8 × 8 digits, scaled to 0–1; a fixed shuffled split.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
    """

    test_fraction: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.2


class DictionariesData(Record, frozen=True, kw_only=True, tag_field="source", tag="dictionaries"):
    """Passages of two satirical dictionaries, and from which of them each one comes; shipped.

    Entries are cut into passages of at most the input's length and padded in front with id 0; id 1
    stands for every word that is too rare for the vocabulary. All passages of an entry are on one
    side of the split. Target 1: the second book.

    Source: A. Bierce, The Devil's Dictionary, 1911; The Jargon File 4.4.7, 2003; both in the public
    domain (fwprof/workloads/texts/README.md).
    """

    test_fraction: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.2


Data = SyntheticData | DigitsData | DictionariesData


class Workload(Record, frozen=True, kw_only=True):
    """What is trained, framework-neutral. `batch_size` maps a device kind, or `default`, to a size."""

    name: Name
    input: InputSpec
    layers: Annotated[tuple[Layer, ...], msgspec.Meta(min_length=1)]
    classes: Positive
    """Numbers that the last layer gives a sample: one a class; 1 for a yes or no."""
    optimizer: Optimizer
    loss: Loss = "cross_entropy"
    data: Data = SyntheticData()
    weights: str | None = None
    """An .npz file with the numbers to start from, by canonical name and in canonical layout; relative
    to the YAML file. None: made from the seed."""
    batch_size: dict[str, Positive] = msgspec.field(default_factory=lambda: {"default": 64})
    description: str = ""


class ResolvedLayer(Record, frozen=True, kw_only=True):
    """A layer with its place, shapes and parameters. Shapes leave out the batch dimension."""

    path: str
    """Dotted indices, `repeat` expanded: `0`, `4.1` (second layer inside residual 4)."""
    layer: Layer
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    parameters: dict[str, tuple[int, ...]]
    """Canonical trainable parameters: full name (`4.1.kernel`) → shape."""
    state: dict[str, tuple[int, ...]] = {}
    """Canonical statistics that are not trained (`3.moving_mean`) → shape."""
    inner: tuple[ResolvedLayer, ...] = ()
