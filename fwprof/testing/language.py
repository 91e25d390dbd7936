"""The model language for the tests of plugins: built-in workloads, and layers with shapes and names."""

from fwprof.workloads import find_workload
from fwprof.workloads.language import parameter_shapes, resolve, state_shapes

__all__ = ["find_workload", "parameter_shapes", "resolve", "state_shapes"]
