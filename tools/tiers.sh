#!/usr/bin/env bash
# Runs tiers of tests that need more than cargo: real servers, other compiler flags.
#
#   tiers.sh [kafka] [s3] [alertmanager] [cluster] [ledger] [faults] [quality] [fuzz]
#
# A tier that lacks a tool is named as not run; in CI that fails the whole at its end. Every other
# failure does at once.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

not_run=()
for tier in "$@"; do
    code=0
    case $tier in
        kafka | s3 | alertmanager | cluster) tools/tier.sh "$tier" || code=$? ;;
        ledger | faults | quality) "tools/$tier.sh" || code=$? ;;
        fuzz) fuzz/run.sh || code=$? ;;
        *)
            sed -n 's/^#   //p' "${BASH_SOURCE[0]}" >&2
            exit 2
            ;;
    esac
    case $code in
        0) ;;
        3) not_run+=("$tier") ;;
        *) exit "$code" ;;
    esac
done
[ ${#not_run[@]} = 0 ] && exit 0
echo "tiers that DID NOT RUN, see above: ${not_run[*]}" >&2
[ "${CI:-false}" = false ]
