"""The `fwprof` command: parse, call `fwprof.api`, print. One file a command."""
