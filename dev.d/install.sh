# Debian packages and ONNX Runtime.

# The wheels of one version hold the same library for every Python; the hashes are those of the cp311 wheels.
ORT_VERSION=1.31.1
declare -A ORT_SHA256=(
  [x86_64]=5752bd508126ae7c49894d3b9d2e83f0c3d487319246d04c444b393308d7ad7f
  [aarch64]=da05378364c44d4407e463982d2bf8d5e4cfea873283757e48beeb41df97b7f3
)

POLICY_FILE=''    # the policy-rc.d that we wrote and must remove
LISTS_READ=false  # apt-get update ran

cmd_setup() {
  begin
  ensure missing_for_build
  ensure missing_for_run
  onnxruntime
}

# ensure FUNCTION: installs the packages that the function names.
ensure() {
  local packages
  mapfile -t packages < <("$1")
  if ((${#packages[@]})); then install_packages "${packages[@]}"; fi
}

missing_for_build() {
  type -P cc >/dev/null || echo gcc
  [[ -e /usr/include/stdio.h ]] || echo libc6-dev
  # These build libjpeg-turbo.
  type -P cmake >/dev/null || echo cmake
  type -P nasm >/dev/null || echo nasm
  type -P make >/dev/null || echo make
}

missing_for_run() {
  if $PRIVATE_PG && ! pg_bin >/dev/null; then echo postgresql; fi
  if $PRIVATE_MQ && [[ ! -x $RABBIT_BIN/rabbitmq-server ]]; then echo rabbitmq-server; fi
  [[ -x /usr/bin/ffmpeg ]] || echo ffmpeg
  type -P python3 >/dev/null || echo python3
  have_onnxruntime || have_pip || echo python3-pip
}

missing_for_test() {
  missing_for_run
  type -P shellcheck >/dev/null || echo shellcheck
  if have_onnxruntime && ! have_pip; then echo python3-pip; fi
  if [[ -z $(chromedriver) ]] && apt_has chromium-driver; then printf '%s\n' chromium chromium-driver; fi
}

have_pip() { python3 -m pip --version >/dev/null 2>&1; }
have_onnxruntime() { [[ -e ${VISAVIS_ONNXRUNTIME:-} || -e $STATE/lib/libonnxruntime.so ]]; }

pg_bin() { # the newest one installed
  local initdb
  initdb=$(printf '%s\n' /usr/lib/postgresql/*/bin/initdb | sort -V | tail -n 1)
  [[ -x $initdb ]] && dirname "$initdb"
}

# The driver of Chromium for tests of pages: what the caller names, else what is installed, else nothing.
chromedriver() {
  if [[ -n ${VISAVIS_CHROMEDRIVER:-} ]]; then echo "$VISAVIS_CHROMEDRIVER"; else type -P chromedriver || true; fi
}

# Not every distribution has every package. A container image may come without lists: then they are read first.
apt_has() {
  type -P apt-get >/dev/null || return 1
  compgen -G '/var/lib/apt/lists/*Packages*' >/dev/null || as_root apt-get update >"$LOGS/apt-update.log" 2>&1 || true
  [[ $(LC_ALL=C apt-cache policy "$1") =~ Candidate:\ [0-9] ]]
}

install_packages() {
  type -P apt-get >/dev/null || die "finds no apt-get; install these by hand: $*"
  ((EUID == 0)) || type -P sudo >/dev/null || die "needs root or sudo to install: $*"
  say "installing Debian packages: $*"
  # The packages would start system-wide servers that nobody asked for. A policy that is there already stays.
  if [[ ! -e /usr/sbin/policy-rc.d ]] || grep -q 'visavis dev' /usr/sbin/policy-rc.d; then
    POLICY_FILE=/usr/sbin/policy-rc.d
    printf '#!/bin/sh\n# visavis dev: no service starts during an installation\nexit 101\n' |
      as_root tee "$POLICY_FILE" >/dev/null
    as_root chmod 755 "$POLICY_FILE"
  fi
  $LISTS_READ || timed 'package lists read' logged apt-update as_root apt-get update
  LISTS_READ=true
  timed 'packages installed' logged apt-install as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install --yes --no-install-recommends "$@"
  if [[ -n $POLICY_FILE ]]; then as_root rm -f "$POLICY_FILE"; fi
  POLICY_FILE=''
}

onnxruntime() {
  if have_onnxruntime; then return; fi
  say "fetching ONNX Runtime $ORT_VERSION into .local/lib"
  timed 'ONNX Runtime is in place' fetch_onnxruntime "$(uname -m)"
}

fetch_onnxruntime() {
  local sha256=${ORT_SHA256[$1]:-} fetch=$STATE/lib/fetch lib=libonnxruntime.so.$ORT_VERSION
  [[ -n $sha256 ]] || die "no ONNX Runtime known for $1: set VISAVIS_ONNXRUNTIME to a libonnxruntime.so"
  mkdir -p "$fetch"
  logged pip python3 -m pip download --no-deps --only-binary=:all: --python-version 3.11 \
    --platform "manylinux_2_28_$1" --dest "$fetch" "onnxruntime==$ORT_VERSION"
  logged sha256 sha256sum --check - <<<"$sha256  $(echo "$fetch"/*.whl)"
  python3 -c 'import sys, zipfile; zipfile.ZipFile(sys.argv[1]).extract(sys.argv[2], sys.argv[3])' \
    "$fetch"/*.whl "onnxruntime/capi/$lib" "$fetch"
  mv "$fetch/onnxruntime/capi/$lib" "$STATE/lib/"
  ln -sf "$lib" "$STATE/lib/libonnxruntime.so.1"
  ln -sf "$lib" "$STATE/lib/libonnxruntime.so" # last: what stands for done
  rm -rf "$fetch"
}
