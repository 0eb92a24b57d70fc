#!/usr/bin/env bash
# What a detector remembers of a million flow keys, then what it finds of trouble that is planted in three simulated
# clusters; docs/quality.md tells of the bar.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo run --release -p catchment-quality -- memory
cargo run --release -p catchment-quality -- brief
