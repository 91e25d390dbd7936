"""The PyTorch plugin of fwprof; the engine loads `fwprof_torch.plugin`."""
