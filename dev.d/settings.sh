# Secrets, ports, and the settings that visavis reads.

# Every command that starts something begins here, and holds the lock afterwards.
begin() {
  lock
  mkdir -p "$LOGS" "$RUN" "$STATE/lib"
  load_state
}

load_state() {
  [[ -s $STATE/secrets ]] || replace "$STATE/secrets" <<SECRETS
PG_ADMIN_PASSWORD=$(random 24 base16)
PG_PASSWORD=$(random 24 base16)
PG_TEST_PASSWORD=$(random 24 base16)
MQ_PASSWORD=$(random 24 base16)
MQ_DEMO_PASSWORD=$(random 24 base16)
VISAVIS_MASTER_KEYS=k1:$(random 32 base64)
VISAVIS_KEY_PEPPER=$(random 32 base64)
SECRETS
  # shellcheck source=/dev/null
  . "$STATE/secrets"
  # A shell that has read .local/env carries our own addresses: those aren't services of the caller.
  PRIVATE_PG=true PRIVATE_MQ=true
  case ${DATABASE_URL:-} in '' | *"$PG_PASSWORD"* | *"$PG_TEST_PASSWORD"*) ;; *) PRIVATE_PG=false ;; esac
  case ${AMQP_URL:-} in '' | *"$MQ_PASSWORD"* | *"$MQ_DEMO_PASSWORD"*) ;; *) PRIVATE_MQ=false ;; esac
  PG_PORT='' MQ_PORT='' MQ_HTTP_PORT='' HTTP_PORT=''
  # shellcheck source=/dev/null
  if [[ -s $STATE/ports ]]; then . "$STATE/ports"; fi
}

taken() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }

# RabbitMQ's node and its epmd listen 10,000 and 20,000 above the AMQP port: all below the kernel's ephemeral ports.
any_taken() { taken "$2" || { [[ $1 == MQ_PORT ]] && { taken $(($2 + 10000)) || taken $(($2 + 20000)); }; }; }

# choose_port NAME FIRST COUNT: keeps the remembered port while it is free, so that restarts keep their addresses.
choose_port() {
  local -n port=$1
  local had=$port
  while [[ -z $port ]] || any_taken "$1" "$port"; do port=$(($2 + RANDOM % $3)); done
  if [[ -n $had && $had != "$port" ]]; then say "port $had is taken by another process: now $port"; fi
  printf '%s=%s\n' PG_PORT "$PG_PORT" MQ_PORT "$MQ_PORT" MQ_HTTP_PORT "$MQ_HTTP_PORT" HTTP_PORT "$HTTP_PORT" |
    replace "$STATE/ports"
}

# Which file keeps the demo organisation's key: a key is worth something in one database only.
key_file() {
  if $PRIVATE_PG; then echo "$STATE/key"; else echo "$STATE/key-$(sha256sum <<<"$DATABASE_URL" | cut -c1-12)"; fi
}

# What the visavis binary reads: exported, and written to .local/env.
write_env() {
  local name lines=''
  if $PRIVATE_PG; then DATABASE_URL=postgres://visavis:$PG_PASSWORD@127.0.0.1:$PG_PORT/visavis; fi
  if $PRIVATE_MQ; then
    AMQP_URL=amqp://visavis:$MQ_PASSWORD@127.0.0.1:$MQ_PORT/%2f
    export VISAVIS_PRODUCER_AMQP_URL=amqp://demo:$MQ_DEMO_PASSWORD@127.0.0.1:$MQ_PORT/%2f
    export VISAVIS_RABBITMQ_API=http://visavis:$MQ_PASSWORD@127.0.0.1:$MQ_HTTP_PORT
  fi
  export DATABASE_URL AMQP_URL VISAVIS_PRODUCER_AMQP_URL=${VISAVIS_PRODUCER_AMQP_URL:-$AMQP_URL}
  export VISAVIS_LISTEN=${HTTP_PORT:+127.0.0.1:$HTTP_PORT} VISAVIS_URL=${HTTP_PORT:+http://127.0.0.1:$HTTP_PORT}
  export VISAVIS_KEY VISAVIS_MASTER_KEYS VISAVIS_KEY_PEPPER VISAVIS_BLOBS=$STATE/blobs VISAVIS_MODELS=$ROOT/models
  export VISAVIS_PACKS=$STATE/packs VISAVIS_TEST_KEY
  VISAVIS_KEY=$(cat "$(key_file)" 2>/dev/null) || true
  VISAVIS_TEST_KEY=$(cat "$(key_file).test" 2>/dev/null) || true
  [[ -e ${VISAVIS_ONNXRUNTIME:-} ]] || export VISAVIS_ONNXRUNTIME=$STATE/lib/libonnxruntime.so
  # A receiver that somebody tries out runs on the same machine.
  export VISAVIS_ALLOW_LOOPBACK_TARGETS=true
  for name in DATABASE_URL AMQP_URL "${!VISAVIS_@}"; do
    if [[ $name == VISAVIS_BIN ]]; then continue; fi
    if [[ -z ${!name} ]]; then unset -v "$name"; else lines+="$name=${!name@Q}"$'\n'; fi
  done
  replace "$STATE/env" <<<"${lines%$'\n'}"
}
