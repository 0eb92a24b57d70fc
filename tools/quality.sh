#!/usr/bin/env bash
# Trouble that is planted in three simulated clusters, and what findings make of it; docs/quality.md tells of the bar.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."
cargo run --release -p catchment-quality -- brief
