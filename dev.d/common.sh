# What every part uses: messages, times, logs, locks.

STOP_AT_END=false # `test` stops the services that only it uses

say() { printf '%s\n' "$*"; }
die() { printf 'dev: %s\n' "$*" >&2; exit 1; }

# timed TEXT COMMAND...: runs the command, then says how long it took.
timed() {
  local text=$1 start=$EPOCHREALTIME
  "${@:2}"
  say_since "$start" "$text"
}

say_since() { # START TEXT
  local spent=$(((${EPOCHREALTIME/[.,]/} - ${1/[.,]/}) / 100000))
  say "$2 ($((spent / 10)).$((spent % 10)) s)"
}

# logged NAME COMMAND...: output goes to .local/log/NAME.log; a failure shows its end.
logged() { "${@:2}" >"$LOGS/$1.log" 2>&1 || fail_with_log "$1" "$1 failed"; }

fail_with_log() {
  say "--- the end of .local/log/$1.log:" >&2
  tail -n 25 "$LOGS/$1.log" >&2 || true
  die "$2"
}

# replace FILE: stdin becomes the file at once or not at all, readable by its owner only.
replace() { (umask 077 && cat >"$1.new" && mv "$1.new" "$1"); }
random() { head -c "$1" /dev/urandom | basenc "--$2" -w0; }
as_root() { if ((EUID == 0)); then "$@"; else sudo "$@"; fi; }

# Only one ./dev at a time changes what runs here.
unlock() { exec 9>&-; }
lock() {
  mkdir -p "$STATE"
  [[ -O $STATE ]] || die '.local belongs to another user: run as that user, or remove it'
  exec 9>"$STATE/lock"
  flock -n 9 || { say 'another ./dev is at work here, waiting for it' && flock 9; }
}
