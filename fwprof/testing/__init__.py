"""The plugin author's kit: fakes, faults and conformance suites.

`fwprof.testing.conformance` holds the checks that every plugin must pass; the fakes show how
little a plugin needs; `installed` puts a plugin where worker processes find it. Nothing else in
fwprof imports this package.
"""
