"""Holds a running API against the OpenAPI document that it serves.

Starts a private server on a database and a virtual host of its own, lets schemathesis ask whatever its document allows
and forbids, and fails where an answer is a server error or is not as the document says. The last line is a summary.

Needs DATABASE_URL (a role that may create databases), AMQP_URL, VISAVIS_RABBITMQ_API (an administrator's), psql in PATH,
and schemathesis in PYTHONPATH. VISAVIS_BIN is the server; LOG a folder.
"""

import base64
import contextlib
import json
import os
import pathlib
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import time
import urllib.parse
import urllib.request

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parent.parent
# A run takes about a minute; one that takes ten hangs.
START, RUN, END = 60, 600, 40


def main() -> int:
    name = f"visavis_schemathesis_{secrets.token_hex(4)}"
    logs = pathlib.Path(os.environ.get("LOG", ROOT / ".local/log"))
    logs.mkdir(parents=True, exist_ok=True)
    with contextlib.ExitStack() as undo:
        folder = pathlib.Path(undo.enter_context(tempfile.TemporaryDirectory(prefix="visavis-")))
        environment = {
            **{key: value for key, value in os.environ.items() if not key.startswith("VISAVIS_")},
            "VISAVIS_ONNXRUNTIME": os.environ.get("VISAVIS_ONNXRUNTIME", ""),
            "VISAVIS_MODELS": str(ROOT / "models"),
            "DATABASE_URL": database(name, undo),
            "AMQP_URL": virtual_host(name, undo),
            "VISAVIS_KEY_PEPPER": base64.b64encode(secrets.token_bytes(32)).decode(),
            "VISAVIS_MASTER_KEYS": "k1:" + base64.b64encode(secrets.token_bytes(32)).decode(),
            "VISAVIS_BLOBS": str(folder / "blobs"),
            "VISAVIS_LISTEN": "127.0.0.1:0",
            "VISAVIS_LOG": "info,lapin=error",
        }
        visavis(environment, "migrate")
        visavis(environment, "tenant", "create", "--organisation", "schemathesis")
        # Streams have no end to wait for: `/events` is left to tests of our own.
        # A sandbox key: jobs finish without models, and their answers are held against the document too.
        key = visavis(environment, "tenant", "key", "--organisation", "schemathesis", "--test").strip()
        token = environment["VISAVIS_ADMIN_TOKEN"] = secrets.token_hex(32)
        address = serve(environment, logs / "schemathesis-server.log", undo)
        runs = [
            judge(address, key, folder, ["--exclude-path-regex", "^/admin/|/events$"]),
            judge(address, token, folder, ["--include-path-regex", "^/admin/"]),
        ]
        print("schemathesis: " + "; admin API: ".join(told for _, told in runs))
        return max(code for code, _ in runs)


def judge(address: str, key: str, folder: pathlib.Path, which: list[str]) -> tuple[int, str]:
    """Runs schemathesis on some of the paths; its exit status, and what it found in one line."""
    # After the erasure of a job its verdict is still to be read: that alone is not "use after free".
    command = [
        sys.executable, "-m", "schemathesis.cli", "--config-file", str(HERE / "schemathesis.toml"),
        "run", f"http://{address}/openapi.json", "--checks", "all", "--exclude-checks", "use_after_free", "--no-color",
        "--header", f"Authorization: Bearer {key}", *which,
    ]
    paths = [str(HERE), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "SCHEMATHESIS_HOOKS": "hooks", "PYTHONPATH": os.pathsep.join(filter(None, paths))}
    # Its caches go where everything of this run goes.
    done = subprocess.run(command, cwd=folder, env=environment, timeout=RUN, stdout=subprocess.PIPE, text=True)
    print(done.stdout)
    return done.returncode, summary(done.stdout)


def summary(output: str) -> str:
    """Operations, requests and failures, in one line."""
    operations = re.search(r"API Operations:\s+Selected: (\d+)/\d+\s+Tested: (\d+)", output)
    cases = re.search(r"Test cases:\s+([^\n]*)", output)
    failures = re.search(r"^=+ (.*) =+\s*\Z", output.strip(), re.MULTILINE)
    told = [
        f"{operations[2]} of {operations[1]} operations" if operations else "no operation",
        cases[1].strip() if cases else "no requests",
        failures[1] if failures else "no end",
    ]
    return "; ".join(told)


def database(name: str, undo: contextlib.ExitStack) -> str:
    url = os.environ["DATABASE_URL"]
    sql(url, f"CREATE DATABASE {name}")
    undo.callback(sql, url, f"DROP DATABASE {name} WITH (FORCE)")
    return urllib.parse.urlsplit(url)._replace(path=f"/{name}").geturl()


def sql(url: str, statement: str) -> None:
    subprocess.run(["psql", "-qX", "-v", "ON_ERROR_STOP=1", "-d", url, "-c", statement], check=True)


def virtual_host(name: str, undo: contextlib.ExitStack) -> str:
    url = urllib.parse.urlsplit(os.environ["AMQP_URL"])
    user = urllib.parse.quote(urllib.parse.unquote(url.username or "guest"), safe="")
    manage("PUT", f"vhosts/{name}", {})
    undo.callback(manage, "DELETE", f"vhosts/{name}")
    manage("PUT", f"permissions/{name}/{user}", {"configure": ".*", "write": ".*", "read": ".*"})
    return url._replace(path=f"/{name}").geturl()


def manage(method: str, path: str, body: dict | None = None) -> None:
    """A call of the broker's management API."""
    url = urllib.parse.urlsplit(os.environ["VISAVIS_RABBITMQ_API"])
    host = url.netloc.rpartition("@")[2]
    known = f"{urllib.parse.unquote(url.username or '')}:{urllib.parse.unquote(url.password or '')}"
    request = urllib.request.Request(
        f"{url.scheme}://{host}{url.path.rstrip('/')}/api/{path}",
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={
            "Content-Type": "application/json",
            "Authorization": "Basic " + base64.b64encode(known.encode()).decode(),
        },
    )
    without_proxy = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    without_proxy.open(request, timeout=30).close()


def binary() -> str:
    target = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    return os.environ.get("VISAVIS_BIN") or str(target / "debug/visavis")


def visavis(environment: dict[str, str], *arguments: str) -> str:
    """Runs a command of ours to its end; what it printed."""
    command = [binary(), *arguments]
    return subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout


def serve(environment: dict[str, str], log: pathlib.Path, undo: contextlib.ExitStack) -> str:
    """Starts the server; where it listens."""
    ready = pathlib.Path(environment["VISAVIS_BLOBS"]).parent / "ready"
    with log.open("w") as file:
        command = [binary(), "serve", "all", "--ready-file", str(ready)]
        server = subprocess.Popen(command, env=environment, stderr=file)
    undo.callback(stop, server)
    until = time.monotonic() + START
    while time.monotonic() < until and server.poll() is None:
        if ready.exists():
            return ready.read_text().strip()
        time.sleep(0.1)
    raise SystemExit(f"the server did not start; its log is {log}")


def stop(server: subprocess.Popen) -> None:
    server.send_signal(signal.SIGTERM)
    try:
        server.wait(END)
    except subprocess.TimeoutExpired:
        server.kill()


if __name__ == "__main__":
    sys.exit(main())
