"""The TensorFlow plugin of fwprof; the engine loads `fwprof_tensorflow.plugin`."""
