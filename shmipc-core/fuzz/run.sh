#!/bin/sh
# Fuzzes one target after the other: run.sh [SECONDS FOR EACH [TARGET…]]
# Needs cargo-fuzz and a nightly toolchain. What is found out stays in fuzz/corpus, findings in fuzz/artifacts;
# what deserves to be played by every `cargo test` is copied from there to fuzz/regressions.
set -eu
cd "$(dirname "$0")/.."
seconds=${1:-1200}
[ $# -eq 0 ] || shift
[ $# -gt 0 ] || set -- $(cargo +nightly fuzz list)
for target; do
    printf '\n== %s\n' "$target"
    mkdir -p "fuzz/corpus/$target"
    # Scripts of any length from the beginning: the games need some hundreds of bytes.
    cargo +nightly fuzz run "$target" "fuzz/corpus/$target" "fuzz/regressions/$target" -- \
        -max_total_time="$seconds" -len_control=0 -print_final_stats=1
done
