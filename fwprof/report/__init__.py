"""A run in words and tables, for the terminal and for documents.

`figures` writes numbers, `table` lays out, `sections` and `comparison` say what a run found. Nothing
here measures, reads files or knows a terminal.
"""
