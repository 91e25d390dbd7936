"""The cpu as a device of fwprof: `plugin` holds the hooks, `rapl` the energy meter."""
