# Daemons: starting, finding, awaiting and stopping them.

# A pid comes back for another process some day; pid and start time together name one. Fails for the dead and zombies.
started_at() {
  local line fields
  { read -r line <"/proc/$1/stat"; } 2>/dev/null || return 1
  read -ra fields <<<"${line##*) }"
  [[ ${fields[0]} != Z ]] && echo "${fields[19]}"
}

pid_of() { # prints the pid of a daemon that is alive
  local pid since
  { read -r pid since <"$RUN/$1.pid"; } 2>/dev/null || return 1
  [[ -n $since && $(started_at "$pid") == "$since" ]] && echo "$pid"
}

start_daemon() {
  local name=$1
  if [[ -e $LOGS/$name.log ]]; then mv "$LOGS/$name.log" "$LOGS/$name.log.1"; fi
  setsid "${@:2}" </dev/null >"$LOGS/$name.log" 2>&1 8>&- 9>&- &
  echo "$! $(started_at $!)" >"$RUN/$name.pid"
}

# stop_daemon NAME: with half a minute's time to finish what it has in hand.
stop_daemon() {
  local pid turn
  pid=$(pid_of "$1") || return 0
  kill -TERM "$pid" || true
  for ((turn = 0; turn < 300; turn++)); do
    pid_of "$1" >/dev/null || return 0
    sleep 0.1
  done
  say "$1 did not stop in 30 s: killed"
  kill -KILL "$pid" || true
}

# await NAME SECONDS COMMAND...: until the command succeeds; a daemon that ends or takes too long is an error.
await() {
  local until=$((SECONDS + $2))
  until "${@:3}"; do
    pid_of "$1" >/dev/null || fail_with_log "$1" "$1 ended while starting"
    ((SECONDS < until)) || fail_with_log "$1" "$1 did not get ready in time"
    sleep 0.2
  done
}
