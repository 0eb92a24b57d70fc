#!/usr/bin/env bash
# Builds the fuzz targets and runs each for a while, on the stable compiler.
#
#   [FUZZ_SECONDS=20] [FUZZ_TARGETS="wire log"] run.sh
#
# Each target starts from its seeds and what earlier runs have found (fuzz/corpus); an input that
# makes it fail is kept in fuzz/artifacts.
# Exit codes: 1 a target failed, 2 usage, 3 DID NOT RUN (the target or a tool is missing).
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"

[ $# -eq 0 ] || {
    sed -n 's/^#   //p' "${BASH_SOURCE[0]}" >&2
    exit 2
}
seconds=${FUZZ_SECONDS:-20}
targets=${FUZZ_TARGETS:-wire goldmane json_flow framing log selector config}

did_not_run() {
    echo "tier fuzz DID NOT RUN: $1" >&2
    exit 3
}

command -v g++ >/dev/null || did_not_run "g++ is missing, which builds libFuzzer"
host=$(rustc -vV | sed -n 's/^host: //p')
case $host in
    x86_64-unknown-linux-gnu | aarch64-unknown-linux-gnu) ;;
    *) did_not_run "libFuzzer is not known to run on $host" ;;
esac

cargo fetch --target "$host" >&2 || did_not_run "the crates of fuzz/Cargo.lock cannot be fetched"

features=
case " $targets " in *" config "*) features=config ;; esac
bins=()
for target in $targets; do
    bins+=(--bin "$target")
done
# With the target named, build scripts and macros are built without these flags.
export RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4\
 -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table\
 -Cllvm-args=-sanitizer-coverage-trace-compares -Cllvm-args=-simplifycfg-branch-fold-threshold=0"
cargo build --release --target "$host" --features "$features" "${bins[@]}"

failed=()
built=${CARGO_TARGET_DIR:-target}/$host/release
for target in $targets; do
    mkdir -p "corpus/$target" artifacts
    log=artifacts/$target.out
    code=0
    "$built/$target" "corpus/$target" "seeds/$target" -max_total_time="$seconds" -max_len=2048 -timeout=10 -rss_limit_mb=2048 \
        -artifact_prefix="artifacts/$target-" -print_final_stats=1 >"$log" 2>&1 || code=$?
    inputs=$(sed -n 's/^stat::number_of_executed_units: *//p' "$log")
    if [ "$code" = 0 ]; then
        echo "fuzz $target: ${inputs:-0} inputs in $seconds s, nothing found"
    else
        grep -a -A 12 'panicked at\|ERROR: libFuzzer' "$log" >&2 || tail -n 40 "$log" >&2
        echo "fuzz $target: FAILED, see fuzz/$log" >&2
        failed+=("$target")
    fi
done
[ ${#failed[@]} = 0 ] || exit 1
