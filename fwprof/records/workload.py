"""The neutral model language as records: optimizer, loss, data, and the layers of `layers`.

A workload YAML file decodes into `Workload`; `fwprof.workloads` resolves its shapes into
`ResolvedLayer`s, which travel in the plan. Nothing here knows a framework.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from fwprof.records.base import Record
from fwprof.records.layers import (
    Activation,
    ActivationName,
    Attention,
    AverageOverImage,
    AverageOverSequence,
    AveragePool2d,
    BatchNorm,
    Branches,
    Chain,
    Conv1d,
    Conv2d,
    Dense,
    Dropout,
    Embedding,
    FirstOfSequence,
    Flatten,
    Fraction,
    Frozen,
    Gru,
    Layer,
    LayerBase,
    LayerNorm,
    Lstm,
    MaxOverSequence,
    MaxPool2d,
    Name,
    NotNegative,
    PairwiseProducts,
    PositionEmbedding,
    Positive,
    Repeat,
    Residual,
    TiedDense,
)
from fwprof.records.pipeline import Pipeline

__all__ = [
    "Activation",
    "ActivationName",
    "Adam",
    "Attention",
    "AverageOverImage",
    "AverageOverSequence",
    "AveragePool2d",
    "BatchNorm",
    "Branches",
    "Chain",
    "Conv1d",
    "Conv2d",
    "Data",
    "Dense",
    "DictionariesData",
    "DigitsData",
    "Dropout",
    "Embedding",
    "FirstOfSequence",
    "Flatten",
    "Fraction",
    "Frozen",
    "Gru",
    "InputSpec",
    "Layer",
    "LayerBase",
    "LayerNorm",
    "Loss",
    "Lstm",
    "MaxOverSequence",
    "MaxPool2d",
    "Name",
    "NotNegative",
    "Optimizer",
    "PairwiseProducts",
    "PositionEmbedding",
    "Positive",
    "Repeat",
    "Residual",
    "ResolvedLayer",
    "Sgd",
    "SyntheticData",
    "TiedDense",
    "Workload",
]


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

Loss = Literal["cross_entropy", "binary_cross_entropy", "mean_squared_error"]
"""As a mean. `cross_entropy`: softmax of logits (batch, classes) with targets (batch,) int64, or of
(batch, length, classes) with (batch, length), every position alike. `binary_cross_entropy`: sigmoid
of logits (batch, classes), over batch and classes, targets (batch, classes) float32 of 0 and 1.
`mean_squared_error`: over batch and numbers, targets (batch, classes) float32.
"""


class InputSpec(Record, frozen=True, kw_only=True):
    """What one sample looks like, without the batch dimension."""

    shape: Annotated[tuple[Positive, ...], msgspec.Meta(min_length=1, max_length=4)]
    dtype: Literal["float32", "int64"] = "float32"


TrainingSamples = Positive | None
"""How many training samples of real data are used: the first so many of a shuffle made from the seed,
so that a larger number holds every sample of a smaller one. None: all there are."""
Folder = Annotated[str, msgspec.Meta(min_length=1)]
"""Where files of the user's are: `~` is expanded; relative to the YAML file of a workload, else to the
working directory."""


class SyntheticData(Record, frozen=True, kw_only=True, tag_field="source", tag="synthetic"):
    """Made from the seed: standard normal inputs, or Zipf-distributed ids (exponent 1).

    Targets follow a random linear rule of the inputs; those of `mean_squared_error` have a deviation
    of 1, and noise of 0.1 on top. Where every position is classified, the target is the next id.

    Source (Zipf for text): Zipf, Human Behavior and the Principle of Least Effort, 1949.
    """

    samples: Positive = 2048
    min_length: Positive | None = None
    """Of ids: sequences have any length from here to the full one, equally likely, and are padded in
    front with id 0, so that a recurrent layer ends on what was drawn; no layer masks the padding.
    None: all of full length, and id 0 is one like the others."""
    has_columns: bool = False
    """Of ids: each position is a column of its own, with an equal share of the vocabulary of its own,
    as the categories of a table have it. In each share the first id is the commonest."""
    is_trimmed: bool = False
    """Of ids with `min_length`: a batch is as long as its longest sequence, so that lengths change
    from step to step; the layers must take any length."""


class DigitsData(Record, frozen=True, kw_only=True, tag_field="source", tag="digits"):
    """scikit-learn's 1,797 real handwritten 8 × 8 digits, scaled to 0–1; a fixed shuffled split.

    Source: E. Alpaydin and C. Kaynak, Optical Recognition of Handwritten Digits, UCI, 1998.
    """

    test_fraction: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.2
    samples: TrainingSamples = None


class DictionariesData(Record, frozen=True, kw_only=True, tag_field="source", tag="dictionaries"):
    """Passages of two satirical dictionaries, and from which of them each one comes; shipped.

    Entries are cut into passages of at most the input's length and padded in front with id 0; id 1
    stands for every word that is too rare for the vocabulary. All passages of an entry are on one
    side of the split. Target 1: the second book.

    Source: A. Bierce, The Devil's Dictionary, 1911; The Jargon File 4.4.7, 2003; both in the public
    domain (fwprof/workloads/texts/README.md).
    """

    test_fraction: Annotated[float, msgspec.Meta(gt=0, lt=1)] = 0.2
    samples: TrainingSamples = None


class MnistData(Record, frozen=True, kw_only=True, tag_field="source", tag="mnist"):
    """The user's own copy of MNIST: handwritten digits of 28 × 28 grey pixels, 10 classes.

    Four IDX files, also gzip-compressed, as they are distributed. Pixels 0 to 255 are scaled to 0–1
    by dividing by 255. Validation: MNIST's own test files. Input (28, 28, 1) or (784,).

    Source: Y. LeCun, C. Cortes and C. Burges, The MNIST database of handwritten digits, 1998.
    """

    folder: Folder
    samples: TrainingSamples = None


class Cifar10Data(Record, frozen=True, kw_only=True, tag_field="source", tag="cifar10"):
    """The user's own copy of CIFAR-10: photographs of 32 × 32 colour pixels, 10 classes.

    The binary version: six files of 3073-byte records, in the folder or in cifar-10-batches-bin
    inside it. Pixels 0 to 255 are scaled to 0–1 by dividing by 255. Validation: CIFAR's own test
    file. Input (32, 32, 3).

    Source: A. Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.
    """

    folder: Folder
    samples: TrainingSamples = None


Data = SyntheticData | DigitsData | DictionariesData | MnistData | Cifar10Data


class Workload(Record, frozen=True, kw_only=True):
    """What is trained, framework-neutral. `batch_size` maps a device kind, or `default`, to a size."""

    name: Name
    input: InputSpec
    layers: Annotated[tuple[Layer, ...], msgspec.Meta(min_length=1)]
    classes: Positive
    """Numbers that the last layer gives a sample, or a position: one a class; 1 for a yes or no; as
    many as are predicted where the loss is `mean_squared_error`."""
    optimizer: Optimizer
    loss: Loss = "cross_entropy"
    accumulate: Positive = 1
    """Parts of equal size that a batch is cut into: a step adds up their gradients, then updates once."""
    data: Data = SyntheticData()
    pipeline: Pipeline = Pipeline()
    """How batches are made of the data in the pipeline pass."""
    weights: str | None = None
    """An .npz file with the numbers to start from, by canonical name and in canonical layout; relative
    to the YAML file. None: made from the seed."""
    target_accuracy: Annotated[float, msgspec.Meta(gt=0, le=1)] | None = None
    """Validation accuracy to which `time_to_accuracy` counts. None: there is no such figure."""
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
    """What is not trained: statistics (`3.moving_mean`) and frozen parameters → shape."""
    is_frozen: bool = False
    """Whether it stands in `frozen`: all it has is in `state`."""
    table: str | None = None
    """Canonical name of the table that a tied layer shares."""
    inner: tuple[ResolvedLayer, ...] = ()
