"""The built-in workloads, small, as a worker builds them: those of the definitions, and they train."""

from __future__ import annotations

from pathlib import Path

import pytest

from fwprof.testing.sweep import SAMPLED, expect_swept, sweep

REFUSED = {
    "graph": {
        "bert",
        "dictionaries-lstm",
        "dynamic",
        "finetune",
        "finetune-lora",
        "gpt",
        "mlp-dropout",
        "recommender-embedding",
        "resnet18",
        "resnet50",
        "text-cnn",
        "text-gru",
        "text-lstm",
        "text-lstm-multilabel",
        "transformer-encoder",
    }
}
"""Variant → what it says it does not support: `graph` builds perceptrons and plain convolutions alone,
without dropout."""


def test_three_workloads_are_those_of_the_definitions(tmp_path: Path) -> None:
    expect_swept(sweep("fwprof_tensorflow.plugin", "tensorflow", tmp_path, workloads=SAMPLED))


@pytest.mark.sweep
@pytest.mark.parametrize("variant", ["function", "eager", "xla", "graph"])
@pytest.mark.parametrize("is_verification", [True, False], ids=["verified", "timed"])
def test_every_workload_is_the_one_of_the_definitions(
    tmp_path: Path, variant: str, is_verification: bool
) -> None:
    found = sweep(
        "fwprof_tensorflow.plugin", "tensorflow", tmp_path, variant=variant, is_verification=is_verification
    )
    expect_swept(found, REFUSED.get(variant, ()))
