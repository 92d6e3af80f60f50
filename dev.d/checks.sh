# The checks that CI runs, and the data that they need.

LINT_PID='' API_PID='' CHAOS_PID='' # checks that run beside the tests

cmd_test() {
  local build=() args=("$@")
  test_services_lock
  timed 'format is right' cargo fmt --all --check
  ensure missing_for_build
  while (($#)) && [[ $1 != -- ]]; do build+=("$1") && shift; done
  start_cargo 'tests are compiled' test --no-run "${build[@]}"
  # The compilation needs the processor, the downloads need the network: they run side by side.
  test_services_up missing_for_test
  timed 'tools for the checks are in place' fetch_tools
  timed 'scripts are sound' shellcheck -xa dev .ci/run
  # Not the advisories: their database would be fetched on every run.
  timed 'dependencies are allowed' logged deny "$STATE/bin/cargo-deny" check bans licenses sources
  choose_browser
  unlock
  await_build
  logged build cargo build --bin visavis --bin chaos --examples # at hand already, unless ARGS name other targets

  # These wait a lot, as the tests do.
  rm -f "$RUN/tests-ended"
  in_background lint
  LINT_PID=$!
  in_background hold_api_to_its_document
  API_PID=$!
  in_background chaos_in_short
  CHAOS_PID=$!
  run_tests "${args[@]}"
}

# The closing lines of `cargo test` come last, because CI reads them.
run_tests() {
  local status=0 lint api chaos
  if [[ $VISAVIS_CHROMEDRIVER == none ]]; then
    # What follows the first -- is for the tests themselves.
    if [[ " $* " == *' -- '* ]]; then set -- "$@" --skip desk_browser; else set -- "$@" -- --skip desk_browser; fi
  fi
  cargo test "$@" || status=$?
  touch "$RUN/tests-ended"
  # Forgotten before they are waited for: once they have ended, their numbers may belong to other processes.
  lint=$LINT_PID api=$API_PID chaos=$CHAOS_PID LINT_PID='' API_PID='' CHAOS_PID=''
  wait "$lint" || fail_with_log lint "lints or queries failed: $(cat "$RUN/lint-failed")"
  wait "$api" || fail_with_log schemathesis 'the API does not do as its document says'
  wait "$chaos" || fail_with_log chaos 'jobs did not survive the chaos, or the audit found a violation'
  return $status
}

# Services for as long as this command runs; those that `up` started, or another test uses, stay.
test_services_lock() {
  mkdir -p "$STATE"
  exec 8>"$STATE/tests"
  flock -s 8
  begin
  STOP_AT_END=true
}

test_services_up() { # FUNCTION that names the packages
  ensure "$1"
  onnxruntime
  PG_FSYNC=off
  services_up
  if $PRIVATE_PG; then DATABASE_URL=postgres://test:$PG_TEST_PASSWORD@127.0.0.1:$PG_PORT/test; fi
}

fetch_tools() {
  cargo_deny
  schemathesis
  receivers
  if [[ -n $(chromedriver) && ${VISAVIS_CHROMEDRIVER:-} != none ]]; then axe; fi
}

choose_browser() {
  VISAVIS_CHROMEDRIVER=$(chromedriver)
  export VISAVIS_CHROMEDRIVER=${VISAVIS_CHROMEDRIVER:-none}
  if [[ $VISAVIS_CHROMEDRIVER == none ]]; then
    say 'no Chromium: the tests named desk_browser are left out (VISAVIS_CHROMEDRIVER may name a chromedriver)'
  fi
}

# One compilation lints the code and checks its queries.
lint() {
  local start=$EPOCHREALTIME
  lint_failed 'clippy (a query that does not fit the schema is an error there)'
  query_data nice cargo clippy --all-targets -- -D warnings >"$LOGS/lint.log" 2>&1 || exit 1
  lint_failed '.sqlx is out of date, run ./dev prepare'
  if ! diff -rqN .sqlx "$STATE/sqlx" >"$LOGS/lint.log" 2>&1; then
    rm -f "$STATE/sqlx.key"
    exit 1
  fi
  passed "$start" 'lints and queries pass'
}

lint_failed() { echo "$1" >"$RUN/lint-failed"; }

# A server of its own against the document that it serves.
hold_api_to_its_document() {
  local start=$EPOCHREALTIME
  PATH=$PATH:$(pg_bin || true) PYTHONPATH=$SCHEMATHESIS LOG=$LOGS VISAVIS_BIN=$TARGET/debug/visavis \
    python3 tests/schemathesis/run.py >"$LOGS/schemathesis.log" 2>&1 || exit 1
  passed "$start" "the API does as its document says: $(tail -n 1 "$LOGS/schemathesis.log")"
}

passed() { if [[ ! -e $RUN/tests-ended ]]; then say_since "$@"; fi; }

# query_data COMMAND...: while the command compiles crates/store, sqlx's macros check each query against a scratch
# database and write what they learn to .local/sqlx. The migrations are applied by psql, as no binary may compile yet.
# The macros run only in what is compiled anew: VISAVIS_QUERIES, which clippy's build of crates/store reads, changes
# when a migration, a query or the data of .sqlx did.
query_data() {
  local base=${DATABASE_URL%%\?*} file key scratch
  exec 7>"$STATE/queries"
  flock 7
  scratch=${base%/*}/visavis_prepare
  logged scratch psql_at "$DATABASE_URL" -c 'DROP DATABASE IF EXISTS visavis_prepare WITH (FORCE)' \
    -c 'CREATE DATABASE visavis_prepare'
  for file in migrations/*.sql; do
    if [[ -e $file && $file != *.down.sql ]]; then logged scratch psql_at "$scratch" -f "$file"; fi
  done
  key=$(find migrations crates/store .sqlx Cargo.lock -type f -print0 | sort -z | xargs -0 sha256sum | sha256sum)
  if [[ $(cat "$STATE/sqlx.key" 2>/dev/null) != "$key "* ]]; then
    rm -rf "$STATE/sqlx"
    mkdir "$STATE/sqlx"
    replace "$STATE/sqlx.key" <<<"$key $(random 8 base16)"
  fi
  VISAVIS_QUERIES=$(<"$STATE/sqlx.key") SQLX_OFFLINE=false SQLX_OFFLINE_DIR=$STATE/sqlx DATABASE_URL=$scratch "$@"
}

cmd_prepare() {
  test_services_lock
  ensure missing_for_build
  test_services_up missing_for_run
  rm -f "$STATE/sqlx.key"
  query_data cargo clippy
  rm -rf .sqlx
  cp -r "$STATE/sqlx" .sqlx
  say '.sqlx is written'
}

# `test` runs property tests on the seed of .cargo/config.toml and the failures that are stored in the tree. This draws
# a new seed. What fails is stored in proptest-regressions/, to be committed with its repair.
cmd_explore() {
  local cases=${1:-10000} seed modules=()
  [[ $cases =~ ^[0-9]+$ ]] || die "explore: $cases is no number of cases"
  test_services_lock
  ensure missing_for_build
  test_services_up missing_for_run
  unlock
  mapfile -t modules < <(property_modules)
  seed=${PROPTEST_RNG_SEED:-$(od -An -N4 -tu4 /dev/urandom | tr -d ' ')}
  say "$cases cases a test on the seed $seed (to repeat: PROPTEST_RNG_SEED=$seed ./dev explore $cases)"
  PROPTEST_RNG_SEED=$seed PROPTEST_CASES=$cases cargo test --no-fail-fast -- "${modules[@]}"
}

# The modules with property tests, as `cargo test` names them.
property_modules() {
  local file
  while read -r file; do
    file=${file#crates/*/}
    file=${file#src/} file=${file#tests/it/} file=${file%.rs}
    echo "${file//\//::}::"
  done < <(grep -rlE '^ *proptest! |TestRunner::new' src crates/*/src tests/it --include='*.rs')
}
