# The running stack, and the commands that start, stop and show it.

PHOTOS=tests/photos/demo.csv
REVIEWER=demo@example.com # at the desk of the organisation `demo`

services_up() {
  if $PRIVATE_PG; then postgres_up; fi
  if $PRIVATE_MQ; then rabbitmq_up; fi
  write_env
}

services_down() {
  rabbitmq_down
  postgres_down
}

# The key is shown once, at the organisation's creation; a run that was cut off before it was kept asks for another.
bootstrap() {
  local key user=demo
  if ! $PRIVATE_MQ; then user=${AMQP_URL#*://} user=${user%%[:@/]*}; fi
  key=$("$BIN" tenant create --organisation demo --amqp-user "$user" --if-missing 2>"$LOGS/tenant.log") ||
    fail_with_log tenant 'visavis tenant create failed'
  if [[ -z $key && ! -s $(key_file) ]]; then
    key=$("$BIN" tenant key --organisation demo 2>"$LOGS/tenant.log") ||
      fail_with_log tenant 'visavis tenant key failed'
  fi
  if [[ -n $key ]]; then replace "$(key_file)" <<<"$key"; fi
  if [[ ! -s $(key_file).test ]]; then
    key=$("$BIN" tenant key --organisation demo --test --label sandbox 2>"$LOGS/tenant.log") ||
      fail_with_log tenant 'visavis tenant key failed'
    replace "$(key_file).test" <<<"$key"
  fi
  key=$("$BIN" reviewer add --organisation demo --login "$REVIEWER" --name 'Demo reviewer' --lead --if-missing \
    2>"$LOGS/tenant.log") || fail_with_log tenant 'visavis reviewer add failed'
  if [[ -z $key && ! -s $(key_file).desk ]]; then
    key=$("$BIN" reviewer password --login "$REVIEWER" 2>"$LOGS/tenant.log") ||
      fail_with_log tenant 'visavis reviewer password failed'
  fi
  if [[ -n $key ]]; then replace "$(key_file).desk" <<<"$key"; fi
  write_env
}

# A server that was started with older code or other settings is replaced, a fitting one left alone.
visavis_up() {
  if pid_of visavis >/dev/null && http_ok "$HTTP_PORT" /readyz && [[ ! $BIN -nt $RUN/visavis.pid ]] &&
    cmp -s <(runs_with) "$RUN/visavis.env"; then return; fi
  visavis_down
  choose_port HTTP_PORT 18000 2000
  write_env
  timed 'database is migrated' logged migrate "$BIN" migrate
  bootstrap
  runs_with | replace "$RUN/visavis.env"
  start_daemon visavis "$BIN" serve all
  timed 'visavis is ready' await visavis 60 http_ok "$HTTP_PORT" /readyz
}

runs_with() { echo "$BIN" && cat "$STATE/env"; }

visavis_down() { if pid_of visavis >/dev/null; then timed 'visavis stopped' stop_daemon visavis; fi; }

cmd_up() {
  case $* in '' | --release | --services) ;; *) die "up: unknown option $*" ;; esac
  begin
  if [[ $* != --services ]]; then
    ensure missing_for_build
    start_build "$@"
  fi
  ensure missing_for_run
  onnxruntime
  touch "$RUN/keep" # `test` leaves services alone that somebody asked for
  services_up
  if [[ $* == --services ]]; then
    say 'Postgres and RabbitMQ are up (addresses: .local/env, to stop them: ./dev down)'
  else
    await_build
    visavis_up
    say "visavis is up at $VISAVIS_URL (to stop it: ./dev down)"
    say 'addresses and keys: .local/env; log: .local/log/visavis.log'
  fi
  unlock
}

cmd_down() {
  if [[ ! -e $STATE/secrets ]]; then return; fi
  lock
  load_state
  rm -f "$RUN/keep"
  visavis_down
  services_down
}

cmd_demo() {
  cmd_up
  say "submitting the pairs of $PHOTOS over AMQP"
  "$BIN" submit "$PHOTOS"
  say "Cases in doubt wait at $VISAVIS_URL/desk: sign in as $REVIEWER with the password $(<"$(key_file).desk")"
  say "Every endpoint, to try in a browser: $VISAVIS_URL/docs"
  say 'The stack stays up; to stop it: ./dev down'
}

cmd_bench() {
  cargo bench --bench vision
  cmd_up --release
  cargo bench --bench webhooks
  cargo bench --bench desk
  cargo bench --bench http
  "$BIN" submit "$PHOTOS" --repeat 50
}
