"""NVIDIA cards as devices of fwprof: `plugin` holds the hooks, `cards` finds cards, `meters` reads them."""
