#!/usr/bin/env python3
"""Validates JSON lines on standard input against the JSON Schema of a dataset.

    python tools/readers/check_json.py DATASET < rows.jsonl

Exits 1 where a line does not fit, naming it; 2 where there is no schema or not one line.
"""

import json
import sys
from pathlib import Path

import jsonschema
import rfc3339_validator  # noqa: F401  without it jsonschema takes any text for a time

SCHEMAS = Path(__file__).resolve().parents[2] / "schemas" / "json"


def validator(dataset: str) -> jsonschema.protocols.Validator:
    schema = json.loads((SCHEMAS / f"{dataset}.v1.schema.json").read_text())
    kind = jsonschema.validators.validator_for(schema)
    kind.check_schema(schema)
    return kind(schema, format_checker=kind.FORMAT_CHECKER)


def faults(line: str, schema: jsonschema.protocols.Validator) -> list[str]:
    try:
        row = json.loads(line)
    except json.JSONDecodeError as error:
        return [f"no JSON: {error}"]
    return [f"{error.json_path}: {error.message}" for error in schema.iter_errors(row)]


def main() -> int:
    if len(sys.argv) != 2:
        print(__doc__, file=sys.stderr)
        return 2
    try:
        schema = validator(sys.argv[1])
    except FileNotFoundError as error:
        print(f"no schema for {sys.argv[1]}: {error.filename}", file=sys.stderr)
        return 2
    lines = broken = 0
    for lines, line in enumerate(sys.stdin, start=1):
        found = faults(line, schema)
        broken += bool(found)
        for fault in found:
            print(f"line {lines}: {fault}", file=sys.stderr)
    print(f"{sys.argv[1]}: {lines} lines, {broken} do not fit")
    if lines == 0:
        return 2
    return 1 if broken else 0


if __name__ == "__main__":
    sys.exit(main())
