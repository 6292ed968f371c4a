#!/usr/bin/env bash
# Runs every check. The compile of the cluster's programs, minutes on a new machine, overlaps what does not need them.
set -uo pipefail
cd "$(dirname "$0")/.."
failed=()
step() {
    local started=$SECONDS
    printf '\n── %s\n' "$1"
    if make --no-print-directory "$1"; then
        printf '── %s: passed in %d s\n' "$1" $((SECONDS - started))
    else
        failed+=("$1")
        printf '── %s: FAILED after %d s\n' "$1" $((SECONDS - started))
    fi
}
make --no-print-directory setup packages || exit 1
log=$(mktemp)
make --no-print-directory cluster-build >"$log" 2>&1 &
build=$!
step lint
step test-unit
printf '\n── cluster-build (it ran beside the above)\n'
tail -n +1 --follow --pid=$build "$log"
wait $build || { failed+=(cluster-build); }
rm -f "$log"
step test-cluster
step test-node
if ((${#failed[@]})); then
    printf '\nFAILED: %s\n' "${failed[*]}"
    exit 1
fi
printf '\nevery check passed in %d s\n' "$SECONDS"
