# Chaos: visavis under load and faults, then an audit of what came of it (tests/chaos).

# The run of `test` is short and always the same.
CHAOS_IN_SHORT=(--seed 18 --minutes 0.6 --jobs 250 --kills 12 --faults 18 --patience 4)

cmd_chaos() {
  test_services_lock
  ensure missing_for_build
  if [[ -z ${VISAVIS_BIN:-} ]]; then
    start_cargo 'visavis and its chaos are built' build --bin visavis --bin chaos --examples
  else
    start_cargo 'chaos is built' build --package chaos
  fi
  test_services_up missing_for_run
  unlock
  await_build
  run_chaos "$@"
}

run_chaos() { VISAVIS_BIN=$BIN "$TARGET/debug/chaos" "$@"; }

# Beside the tests, like schemathesis.
chaos_in_short() {
  local start=$EPOCHREALTIME
  BIN=$TARGET/debug/visavis run_chaos "${CHAOS_IN_SHORT[@]}" >"$LOGS/chaos.log" 2>&1 || exit 1
  passed "$start" "chaos: $(tail -n 1 "$LOGS/chaos.log")"
}
