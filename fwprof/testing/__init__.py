"""The plugin author's kit: fakes, faults, checks and conformance suites.

`fwprof.testing.conformance` holds the checks that every plugin must pass; `checks` compare a
plugin's networks and optimizers with the formulas in `definitions`; `small` makes small workloads;
`fixtures` are what pytest undoes. The fakes show how little a plugin needs; `installed` puts a plugin
where worker processes find it. Nothing else in fwprof imports this package.
"""
