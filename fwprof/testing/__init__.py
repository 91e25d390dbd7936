"""The plugin author's kit: fakes, faults, checks and conformance suites.

`fwprof.testing.conformance` holds the checks that every plugin must pass; `definitions` the formulas
of every layer, loss and optimizer, and checks of a plugin against them; `small` small workloads;
`fixtures` what pytest undoes. The fakes show how little a plugin needs; `installed` puts a plugin
where worker processes find it. Nothing else in fwprof imports this package.
"""
