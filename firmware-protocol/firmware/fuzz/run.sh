#!/bin/sh
# Fuzzes the core with libFuzzer and sanitizers, with and without a drive: run.sh SECONDS [CORPUS]
# SECONDS are for both together. A crash leaves its input in the folder that is named.
set -eu
seconds=${1:-60}
here=$(cd "$(dirname "$0")" && pwd)
clang=$(command -v clang || command -v clang-14 || true)
if [ -z "$clang" ]; then
  echo "skipped: clang is not installed (apt-get install clang-14 libclang-rt-14-dev)" >&2
  [ "${REQUIRE_TOOLS:-}" = 1 ] && exit 1
  exit 0
fi
work=$(mktemp -d)

# A beginning that leads somewhere: HELLO, power on, time for the rails, a drive that is ready, and reads that
# are done. Each step is followed by one byte for the sensors (fuzz.c).
first_input() {
  hello='\001\000\000\000'
  power_on='\011\006\007\001\001\000\000\000\000\000\000'
  time='\007\100\000'
  ready='\005\001\000'
  read='\013\003\000\000\010\377\000\000\000\000\000\000\000'
  read_done='\005\000\000\000\000'
  printf "$hello$power_on$time$time$time$ready$read$read_done$read$read_done$time$read$read$read$read_done"
}
for kind in power reads; do
  defines=
  [ $kind = reads ] && defines=-DFUZZ_WITH_READS
  corpus=${2:-$work}/corpus-$kind
  mkdir -p "$corpus" "$work/$kind"
  first_input >"$corpus/first"
  "$clang" -std=c99 -g -O1 -Wall -Wextra -Wconversion -Wshadow -Werror $defines \
    -fsanitize=fuzzer,address,undefined -fno-sanitize-recover=all \
    -I"$here/device" -I"$here/../core" "$here"/../core/*.c "$here/fuzz.c" -o "$work/fuzz-$kind"
  echo "fuzzing with $kind for $((seconds / 2)) s"
  if ! "$work/fuzz-$kind" -max_total_time=$((seconds / 2)) -max_len=2048 -timeout=5 -rss_limit_mb=1024 \
    -artifact_prefix="$work/$kind/" -print_final_stats=1 "$corpus" 2>"$work/$kind/log"; then
    tail -40 "$work/$kind/log"
    echo "a crash; its input is in $work/$kind"
    exit 1
  fi
  grep -E 'number_of_executed_units|average_exec_per_sec|peak_rss' "$work/$kind/log"
done
rm -rf "$work"
