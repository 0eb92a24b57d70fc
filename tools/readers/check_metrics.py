"""Reads a page of metrics as strictly as its format demands: each metric described once, samples
under their description, names that end as type and unit say, no sample twice.

    curl -s http://HOST:PORT/metrics | check_metrics.py
"""

import sys

from prometheus_client.openmetrics.parser import text_string_to_metric_families


def main() -> None:
    if len(sys.argv) != 1:
        sys.exit(__doc__)
    try:
        families = list(text_string_to_metric_families(sys.stdin.read()))
    except ValueError as error:
        sys.exit(f"the page is no OpenMetrics text: {error}")
    names = [family.name for family in families]
    twice = sorted({name for name in names if names.count(name) > 1})
    if not names or twice:
        sys.exit(f"no metrics, or described more than once: {twice}")
    samples = sum(len(family.samples) for family in families)
    print(f"metrics: {len(names)} metrics with {samples} samples")


if __name__ == "__main__":
    main()
