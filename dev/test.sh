#!/usr/bin/env bash
# Runs every check. Much of it waits, so what is independent runs at once: beside lint and the unit tests, the cluster's
# programs and the image are made, which takes minutes on a new machine; beside the tests on other kinds of Redis and on
# control planes, those on the node run. What this machine cannot run (no root, no Go) is skipped with one line, and with CI=true is a failure.
set -uo pipefail
cd "$(dirname "$0")/.."
export PYTHONPATH=dev
python=${PYTHON:-python3}
failed=()
skipped=()
declare -A beside
logs=$(mktemp -d)
leave() {
    for pid in "${beside[@]}"; do kill -INT -- "-$pid" 2>/dev/null && wait "$pid"; done
    rm -rf "$logs"
}
trap leave EXIT
trap 'exit 130' INT TERM

step() { # TARGET: run it here and now
    local started=$SECONDS
    printf '\n── %s\n' "$1"
    if make --no-print-directory "$1"; then
        printf '── %s: passed in %d s\n' "$1" $((SECONDS - started))
    else
        failed+=("$1")
        printf '── %s: FAILED after %d s\n' "$1" $((SECONDS - started))
    fi
}

start() { # TARGET: run it beside what follows, until `finish`
    set -m # in a process group of its own, which can be interrupted as a whole
    step "$1" >"$logs/$1" 2>&1 &
    beside[$1]=$!
    set +m
}

finish() { # TARGET: show what it said and says, and wait for its end
    tail --lines=+1 --follow --pid="${beside[$1]}" "$logs/$1"
    wait "${beside[$1]}"
    unset "beside[$1]"
    grep --quiet "^── $1: passed" "$logs/$1" || failed+=("$1")
}

can() { # PART TARGET: whether this machine can run that part of a cluster; if not, the target counts as skipped or failed
    local reason status
    reason=$("$python" -m localcluster check "$1" 2>&1)
    status=$?
    ((status == 0)) && return 0
    if ((status == 3)) && [[ ${CI:-} != true && ${CI:-} != 1 && ${LONGSHORE_FAIL_ON_SKIP:-} != 1 ]]; then
        skipped+=("$2: ${reason#error: }")
    else
        failed+=("$2 (cannot run here: ${reason#error: })")
    fi
    return 1
}

make --no-print-directory setup packages || exit 1
can control-plane test-cluster && with_cluster=1
can node test-node && with_node=1

[[ ${with_cluster:-} ]] && start cluster-build
[[ ${with_node:-} ]] && start cluster-image
step lint
step test-unit
[[ ${with_cluster:-} ]] && finish cluster-build
[[ ${with_node:-} ]] && start test-node # waits for the image by itself
step test-redis
[[ ${with_cluster:-} ]] && step test-cluster
if [[ ${with_node:-} ]]; then
    finish cluster-image
    finish test-node
fi

for line in "${skipped[@]}"; do printf '\nskipped: %s\n' "$line"; done
if ((${#failed[@]})); then
    printf '\nFAILED:%s\n' "$(printf ' %s;' "${failed[@]}")"
    exit 1
fi
printf '\nevery check that can run here passed in %d s\n' "$SECONDS"
