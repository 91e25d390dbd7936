"""What NVIDIA's data sheets promise of whole cards: dense products, without structured sparsity.

Knows names and figures; asks no driver. A figure that a data sheet gives with sparsity is halved
here, as the sheet's footnote says. `float32` is the rate of the ordinary cores; the other formats
are those of the tensor cores, which add up in float32.
"""

from __future__ import annotations

from collections.abc import Mapping

from fwprof.plugin import Peak

T = 1e12

_V100 = "NVIDIA V100 Tensor Core GPU datasheet, 2020"
_A100 = "NVIDIA A100 Tensor Core GPU datasheet, 2021"
_A10 = "NVIDIA A10 Tensor Core GPU datasheet, 2021"
_T4 = "NVIDIA T4 Tensor Core GPU datasheet, 2019"
_L4 = "NVIDIA L4 Tensor Core GPU datasheet, 2023; half of its figures with sparsity"
_L40S = "NVIDIA L40S datasheet, 2023"
_ADA = "NVIDIA Ada GPU Architecture whitepaper, appendix A, 2022"
_H100 = "NVIDIA H100 Tensor Core GPU datasheet, 2023; half of its figures with sparsity"
_H200 = "NVIDIA H200 Tensor Core GPU datasheet, 2024; half of its figures with sparsity"
_B200 = "NVIDIA Blackwell datasheet, HGX B200, 2024; half of its figures with sparsity"


def _sheet(source: str, **teraflops: float) -> Mapping[str, Peak]:
    return {name: Peak(flops_per_s=value * T, source=source) for name, value in teraflops.items()}


_V100_SXM = _sheet(_V100, float32=15.7, float16=125)
_V100_PCIE = _sheet(_V100, float32=14, float16=112)
_A100_ANY = _sheet(_A100, float32=19.5, tf32=156, bfloat16=312, float16=312)

SHEETS: Mapping[str, Mapping[str, Peak]] = {
    "Tesla V100-SXM2-16GB": _V100_SXM,
    "Tesla V100-SXM2-32GB": _V100_SXM,
    "Tesla V100-PCIE-16GB": _V100_PCIE,
    "Tesla V100-PCIE-32GB": _V100_PCIE,
    "Tesla T4": _sheet(_T4, float32=8.1, float16=65),
    "NVIDIA A100-SXM4-40GB": _A100_ANY,
    "NVIDIA A100-SXM4-80GB": _A100_ANY,
    "NVIDIA A100-PCIE-40GB": _A100_ANY,
    "NVIDIA A100 80GB PCIe": _A100_ANY,
    "NVIDIA A10": _sheet(_A10, float32=31.2, tf32=62.5, bfloat16=125, float16=125),
    "NVIDIA L4": _sheet(_L4, float32=30.3, tf32=60, bfloat16=121, float16=121),
    "NVIDIA L40S": _sheet(_L40S, float32=91.6, tf32=183, bfloat16=362.05, float16=362.05),
    "NVIDIA GeForce RTX 4090": _sheet(_ADA, float32=82.6, tf32=82.6, bfloat16=165.2, float16=165.2),
    "NVIDIA H100 80GB HBM3": _sheet(_H100, float32=67, tf32=494.5, bfloat16=989.5, float16=989.5),
    "NVIDIA H100 PCIe": _sheet(_H100, float32=51, tf32=378, bfloat16=756.5, float16=756.5),
    "NVIDIA H200": _sheet(_H200, float32=67, tf32=494.5, bfloat16=989.5, float16=989.5),
    # Of its float32 the sheet and the earlier brief say different things, so that nothing is said here.
    "NVIDIA B200": _sheet(_B200, tf32=1100, bfloat16=2250, float16=2250),
}
"""Product name, as NVML says it → precision → peak. A name is looked up whole: cards whose names begin
alike are different cards."""


def find_peaks(title: str, *, is_instance: bool) -> tuple[Mapping[str, Peak], str]:
    """Return what a data sheet promises of a card, and why nothing is where nothing is.

    Args:
        title: the product name.
        is_instance: whether it is an instance of a card that is split (MIG).
    """
    if is_instance:
        return {}, "an instance has a part of its card's arithmetic, and a datasheet speaks of the whole card"
    # Drivers before 465 leave out the maker's name.
    peaks = SHEETS.get(title) or SHEETS.get(f"NVIDIA {title}")
    if peaks is None:
        return {}, f"fwprof-cuda knows no datasheet of {title!r}"
    return peaks, ""
