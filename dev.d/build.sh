# Compiling visavis. `demo`, `up` and `test` share one build: nothing is compiled twice.

BIN=${VISAVIS_BIN:-$TARGET/debug/visavis}
BUILD_PID='' # a cargo at work in the background
BUILD_START=''
BUILD_WHAT=''

# A daemon that cargo may start (a compiler cache) must not inherit our locks.
cargo() {
  have_cargo
  command cargo "$@" 7>&- 8>&- 9>&-
}

have_cargo() { type -P cargo >/dev/null || die 'no cargo found: install Rust from https://rustup.rs'; }

cmd_release_build() {
  begin
  ensure missing_for_build
  unlock
  cargo build --release --locked
  say "the binary is $TARGET/release/visavis"
}

# The binary of the tests' build. The tests ask more features of some dependencies. `--examples` makes cargo choose
# features as for tests, and compiles nothing further, because there are no examples.
start_build() { # [--release]
  if [[ -n ${VISAVIS_BIN:-} ]]; then return; fi
  if [[ ${1:-} == --release ]]; then
    BIN=$TARGET/release/visavis
    start_cargo 'visavis is built (release)' build --release --locked
  else
    start_cargo 'visavis is built' build --bin visavis --examples
  fi
}

# start_cargo WHAT ARGS...: cargo runs while we install and start services, which mostly waits for the network.
start_cargo() {
  have_cargo
  say "compiling: 2 to 5 minutes the first time, on 2 cores"
  BUILD_WHAT=$1 BUILD_START=$EPOCHREALTIME
  in_background exec cargo "${@:2}"
  BUILD_PID=$!
}

# A process group of its own: what it started ends with it.
in_background() {
  set -m
  ("$@") </dev/null 8>&- 9>&- &
  set +m
}

await_build() {
  local pid=$BUILD_PID
  if [[ -z $pid ]]; then return; fi
  BUILD_PID=''
  wait "$pid" || die 'the build failed'
  say_since "$BUILD_START" "$BUILD_WHAT"
}

stop_group() { if [[ -n $1 ]]; then kill -- "-$1" 2>/dev/null || true; fi; }
