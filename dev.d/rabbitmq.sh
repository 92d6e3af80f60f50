# RabbitMQ: a private broker in .local/rabbitmq.

RABBIT_BIN=/usr/lib/rabbitmq/bin # the wrapper in /usr/sbin insists on the system's own user and paths

# A broker answers the protocol header with a method frame, whose first byte is 1.
# shellcheck disable=SC2016
amqp_answers() {
  timeout 3 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$0" && printf "AMQP\0\0\x09\x01" >&3 &&
    [[ $(head -c 1 <&3 | od -An -tx1) == " 01" ]]' "$MQ_PORT" 2>/dev/null
}

# shellcheck disable=SC2016
http_ok() { # PORT PATH; no curl needed
  timeout 5 bash -c 'exec 3<>"/dev/tcp/127.0.0.1/$0" &&
    printf "GET %s HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n" "$1" >&3 &&
    read -r _ status _ <&3 && [[ $status == 200 ]]' "$1" "$2" 2>/dev/null
}

rabbitmq_ready() { amqp_answers && http_ok "$MQ_HTTP_PORT" /; }

rabbitmq_up() {
  if pid_of rabbitmq >/dev/null && rabbitmq_ready; then return; fi
  timed 'RabbitMQ is ready' start_rabbitmq
}

start_rabbitmq() {
  if ! pid_of rabbitmq >/dev/null; then
    stop_epmd # one that a killed broker left
    choose_port MQ_PORT 10000 2768
    choose_port MQ_HTTP_PORT 16000 2000
    install -d -m 700 "$STATE/rabbitmq"
    (
      cd "$STATE/rabbitmq"
      write_rabbitmq_files
      rabbitmq_env
      start_daemon rabbitmq "$RABBIT_BIN/rabbitmq-server"
    )
  fi
  await rabbitmq 90 rabbitmq_ready
}

# Every path of the node, moved to the current folder. RUNNING_UNDER_SYSTEMD makes the start script exec the node rather
# than wait for it, so that the pid we know is the node's. No busy waiting: a developer's machine does other things too.
rabbitmq_env() {
  export HOME=$PWD RABBITMQ_CONF_ENV_FILE=/dev/null RABBITMQ_NODENAME=visavis@localhost RUNNING_UNDER_SYSTEMD=true
  export RABBITMQ_NODE_IP_ADDRESS=127.0.0.1 RABBITMQ_NODE_PORT=$MQ_PORT RABBITMQ_DIST_PORT=$((MQ_PORT + 10000))
  export ERL_EPMD_PORT=$((MQ_PORT + 20000)) ERL_EPMD_ADDRESS=127.0.0.1
  export RABBITMQ_BASE=$PWD RABBITMQ_MNESIA_BASE=$PWD/mnesia RABBITMQ_LOG_BASE=$PWD/log RABBITMQ_PID_FILE=$PWD/pid
  export RABBITMQ_CONFIG_FILE=$PWD/rabbitmq.conf RABBITMQ_ENABLED_PLUGINS_FILE=$PWD/enabled_plugins
  export RABBITMQ_GENERATED_CONFIG_DIR=$PWD/gen RABBITMQ_SCHEMA_DIR=$PWD/schema RABBITMQ_PLUGINS_EXPAND_DIR=$PWD/plugins
  export RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS='+sbwt none +sbwtdcpu none +sbwtdio none
    -kernel inet_dist_use_interface {127,0,0,1}'
}

write_rabbitmq_files() {
  local own='^(demo\\.|amq\\.gen-).+$'
  echo '[rabbitmq_management].' >enabled_plugins
  # max_message_size is RabbitMQ 4's default: a submission that passes here passes there.
  cat >rabbitmq.conf <<CONF
management.tcp.ip = 127.0.0.1
management.tcp.port = $MQ_HTTP_PORT
load_definitions = $PWD/definitions.json
vm_memory_high_watermark.absolute = 1GiB
disk_free_limit.absolute = 100MB
max_message_size = 16777216
CONF
  # The producer may publish submissions, own the queues where its replies arrive, and bind them to its organisation's
  # results; nothing else. A binding needs write on the queue, which opens no exchange, and read on the routing key.
  replace definitions.json <<JSON
{"vhosts": [{"name": "/"}],
 "users": [{"name": "visavis", "password_hash": "$(rabbitmq_hash "$MQ_PASSWORD")", "tags": ["administrator"]},
           {"name": "demo", "password_hash": "$(rabbitmq_hash "$MQ_DEMO_PASSWORD")", "tags": []}],
 "permissions": [
   {"user": "visavis", "vhost": "/", "configure": ".*", "write": ".*", "read": ".*"},
   {"user": "demo", "vhost": "/", "configure": "$own", "write": "^visavis\\\\.submissions$|$own",
    "read": "^visavis\\\\.results$|$own"}],
 "topic_permissions": [
   {"user": "demo", "vhost": "/", "exchange": "visavis.results", "write": "^$", "read": "^demo\\\\."}]}
JSON
}

# RabbitMQ's salted SHA-256: base64(salt + sha256(salt + password)).
rabbitmq_hash() {
  python3 -c 'import base64, hashlib, os, sys
salt, password = os.urandom(4), sys.stdin.read().strip().encode()
print(base64.b64encode(salt + hashlib.sha256(salt + password).digest()).decode())' <<<"$1"
}

stop_epmd() {
  [[ -z $MQ_PORT ]] || ERL_EPMD_ADDRESS=127.0.0.1 epmd -port $((MQ_PORT + 20000)) -kill >/dev/null 2>&1 || true
}

rabbitmq_down() {
  if pid_of rabbitmq >/dev/null; then timed 'RabbitMQ stopped' stop_daemon rabbitmq; fi
  stop_epmd
}
