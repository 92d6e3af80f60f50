# Postgres: a private server in .local/postgres.

PG_FSYNC=on # `test` does not wait for the disk: dropping a database writes everything to it, and tests drop hundreds
PG_AS=()    # prefix that runs a command as the owner of the private Postgres

locate_postgres() {
  PG_BIN=$(pg_bin) || return 1
  PG_DIR=$STATE/postgres
  if ((EUID == 0)); then # Postgres refuses to run as root
    PG_AS=(setpriv --reuid=postgres --regid=postgres --init-groups --)
    # A checkout below /root is closed to user postgres: then the data lie where it may go.
    "${PG_AS[@]}" test -x "$STATE" || PG_DIR=/var/lib/postgresql/visavis-$(sha256sum <<<"$ROOT" | cut -c1-12)
  fi
}

# From /, because the caller's folder may be closed to user postgres.
as_postgres() { (cd / && exec "${PG_AS[@]}" "$@" 8>&- 9>&-); }
pg_ctl() { as_postgres "$PG_BIN/pg_ctl" -D "$PG_DIR/data" -w -t 60 "$@"; }

# Not `pg_ctl status`: it takes a zombie, and any other process of that pid, for the server.
postgres_runs() {
  local pid
  { read -r pid <"$PG_DIR/data/postmaster.pid"; } 2>/dev/null && started_at "$pid" >/dev/null &&
    [[ $(cat "/proc/$pid/comm") == postgres ]]
}

psql_at() { PATH=$PATH:$(pg_bin || true) psql -qXAt -v ON_ERROR_STOP=1 -d "$@"; }
admin_sql() { PGPASSWORD=$PG_ADMIN_PASSWORD psql_at "postgres://postgres@127.0.0.1:$PG_PORT/postgres" "$@"; }

postgres_up() {
  locate_postgres || die 'finds no Postgres in /usr/lib/postgresql'
  if postgres_runs; then
    PG_PORT=$(sed -n 4p "$PG_DIR/data/postmaster.pid")
    if admin_sql -c 'SELECT 1' >/dev/null 2>&1; then return; fi
  fi
  timed 'Postgres is ready' start_postgres
}

start_postgres() {
  local turn
  if [[ ! -d $PG_DIR/data ]]; then init_postgres; fi
  if ! postgres_runs; then
    choose_port PG_PORT 13000 3000
    # After a kill -9 the old server's children hold its memory for a moment: so more tries than one.
    # TCP only: a socket's path may be 107 bytes long and a checkout's may be longer.
    for turn in 1 2 3 4 5; do
      if ((turn > 1)); then sleep 1; fi
      if pg_ctl start -l "$PG_DIR/log" -o "-p $PG_PORT -c listen_addresses=127.0.0.1 -c unix_socket_directories= \
        -c max_connections=300 -c fsync=$PG_FSYNC" >"$LOGS/postgres.log" 2>&1; then break; fi
    done
    postgres_runs || { tail -n 20 "$PG_DIR/log" >>"$LOGS/postgres.log"; fail_with_log postgres 'Postgres did not start'; }
  fi
  logged roles make_roles
}

# Into another name first, so that an interruption leaves no half-made cluster behind. Passwords, because other users of
# the machine reach the port; in the clear, as they stay on the loopback and a test's many connections open faster.
init_postgres() {
  mkdir -p "$PG_DIR"
  chmod 700 "$PG_DIR"
  if ((EUID == 0)); then chown postgres: "$PG_DIR"; fi
  rm -rf "$PG_DIR/new"
  as_postgres tee "$PG_DIR/password" >/dev/null <<<"$PG_ADMIN_PASSWORD"
  logged initdb as_postgres "$PG_BIN/initdb" -D "$PG_DIR/new" -U postgres -A password --pwfile="$PG_DIR/password" \
    -E UTF8 --no-locale
  rm "$PG_DIR/password"
  mv "$PG_DIR/new" "$PG_DIR/data"
}

# `test` makes and drops many databases; it alone does not wait for the disk.
make_roles() {
  admin_sql <<SQL
SELECT format('CREATE ROLE %I LOGIN CREATEDB', n) FROM unnest(ARRAY['visavis', 'test']) n
 WHERE NOT EXISTS (SELECT FROM pg_roles WHERE rolname = n) \gexec
ALTER ROLE visavis PASSWORD '$PG_PASSWORD';
ALTER ROLE test PASSWORD '$PG_TEST_PASSWORD';
ALTER ROLE test SET synchronous_commit = off;
SELECT format('CREATE DATABASE %I OWNER %I', n, n) FROM unnest(ARRAY['visavis', 'test']) n
 WHERE NOT EXISTS (SELECT FROM pg_database WHERE datname = n) \gexec
SQL
}

postgres_down() {
  if locate_postgres && postgres_runs; then timed 'Postgres stopped' logged postgres-stop pg_ctl -m fast stop; fi
}
