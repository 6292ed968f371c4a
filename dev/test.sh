#!/usr/bin/env bash
# Runs every check. The cluster's programs and the image, minutes on a new machine, are made beside what needs neither.
# What this machine cannot run (no root, no Go) is skipped with one line, and with CI=true is a failure.
set -uo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=dev
python=${PYTHON:-python3}
failed=()
skipped=()

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

# step_where PART TARGET: the step, if this machine can run that part of a cluster. Tests that need more skip themselves.
step_where() {
    local reason status
    reason=$("$python" -m localcluster check "$1" 2>&1)
    status=$?
    if ((status == 0)); then
        step "$2"
    elif ((status == 3)) && [[ ${CI:-} != true && ${CI:-} != 1 && ${LONGSHORE_FAIL_ON_SKIP:-} != 1 ]]; then
        skipped+=("$2")
        printf '\n── %s: skipped: %s\n' "$2" "${reason#error: }"
    else
        failed+=("$2")
        printf '\n── %s: cannot run here: %s\n' "$2" "${reason#error: }"
    fi
}

make --no-print-directory setup packages || exit 1
log=$(mktemp)
trap 'rm -f "$log"' EXIT
make --no-print-directory cluster-prepare >"$log" 2>&1 &
prepare=$!
step lint
step test-unit
printf '\n── cluster-prepare (it ran beside the above)\n'
tail -n +1 --follow --pid=$prepare "$log"
# Why it failed stands above; the steps that need it say so, or are skipped.
wait $prepare
step_where control-plane test-kubernetes
if ((${#skipped[@]})); then
    printf '\nskipped: %s\n' "${skipped[*]}"
fi
if ((${#failed[@]})); then
    printf '\nFAILED: %s\n' "${failed[*]}"
    exit 1
fi
printf '\nevery check that can run here passed in %d s\n' "$SECONDS"
