"""The Keras plugin of fwprof; the engine loads `fwprof_keras.plugin`."""
