"""The table of errors: do the cells compute the same, tensor kind by tensor kind?

python benchmarks/equivalence.py [--plugin NAME]... [--workload NAME]...
"""

from __future__ import annotations

from figures import make_parser, own_state, parse, print_figure, print_machine

from fwprof import api
from fwprof.report.layout import to_markdown
from fwprof.report.sections import report


def main() -> None:
    """Verify and print."""
    options = parse(make_parser(__doc__))
    print_machine()
    with own_state() as runs:
        result = api.verify(workloads=options.workloads, plugins=options.plugins, output=str(runs))
        summary = api.summarize(result)
    print(to_markdown(report(result, summary)))
    statuses = [cell.equivalence.status for cell in summary.cells]
    same = statuses.count("equivalent") + statuses.count("reference")
    print_figure(
        "cells that do the same work",
        f"{same} of {len(statuses)}",
        "all",
        is_reached=same == len(statuses) > 0,
    )


if __name__ == "__main__":
    main()
