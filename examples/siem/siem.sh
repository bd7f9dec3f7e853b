# A real service with an organization, and a receiver with certificates. A check.sh sources this,
# starts its receiver, makes its sink, and calls revoked_key_was_used with what finds such uses.
set -euo pipefail

siem=$(basename "$PWD")
work=$(mktemp -d)
trap 'kill $(jobs -p) 2> /dev/null || true; wait; rm -rf "$work"' EXIT
fail() { echo "$siem: $*" >&2; cat "$work"/*.log >&2 || true; exit 1; }
wait_for() { for _ in $(seq 300); do "$@" > /dev/null 2>&1 && return; sleep 0.1; done; fail "still not: $*"; }
need() { command -v "$1" > /dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${@:2}"; }; }

need curl curl
need jq jq
need openssl openssl
go build -o "$work" ../../../cmd/keytrail

# certificates: ca.pem, and server.pem and client.pem for 127.0.0.1 with their keys.
certificates() {
  local name
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$work/ca.key" -out "$work/ca.pem" -subj /CN=ca -days 1 2> /dev/null
  for name in server client; do
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout "$work/$name.key" -out "$work/$name.csr" -subj /CN=keytrail.example.com 2> /dev/null
    openssl x509 -req -in "$work/$name.csr" -CA "$work/ca.pem" -CAkey "$work/ca.key" -CAcreateserial -days 1 -out "$work/$name.pem" 2> /dev/null \
      -extfile <(echo "subjectAltName=DNS:keytrail.example.com,IP:127.0.0.1")
  done
}

# start_keytrail ARGUMENTS…: what a check needs besides.
start_keytrail() {
  "$work/keytrail" serve --data "$work/data" --listen 127.0.0.1:0 --sink-networks 127.0.0.0/8 "$@" 2> "$work/keytrail.log" &
  wait_for grep -q 'ready on' "$work/keytrail.log"
  KEYTRAIL_URL=$(sed -n 's|.*ready on \(http://[0-9.:]*\).*|\1|p' "$work/keytrail.log") KEYTRAIL_KEY=$(cat "$work/data/root.key")
  export KEYTRAIL_URL KEYTRAIL_KEY
  org=$(api /v1/organizations '{"name":"acme"}' | jq -r .id)
}
api() { curl -fsS -H "Authorization: Bearer $KEYTRAIL_KEY" -H 'Content-Type: application/json' "$KEYTRAIL_URL$1" -d "$2"; }
free_port() { local port; while port=$((RANDOM % 20000 + 20000)); (: < "/dev/tcp/127.0.0.1/$port") 2> /dev/null; do :; done; echo "$port"; }

# syslog_sink PORT: over TLS, with a client certificate.
syslog_sink() {
  sink=$("$work/keytrail" sinks create --org "$org" --name siem --type syslog --url "tls://127.0.0.1:$1" --format cloudevents --from beginning \
    --set enterprise_id=32473 --ca-file "$work/ca.pem" --client-certificate-file "$work/client.pem" --client-key-file "$work/client.key" --json | jq -r .sink.id)
}

# place FILE…: into $work, with its paths and $port.
place() { local file; for file in "$@"; do sed "s|/etc/keytrail|$work|g; s|/var/log|$work|g; s|127.0.0.1:[0-9]*|127.0.0.1:$port|g" "$file" > "$work/$file"; done; }

# create_sink: the one of create.sh. Its answer is left in $work/created.json.
create_sink() {
  place create.sh query.sh
  PATH=$work:$PATH sh "$work/create.sh" --json > "$work/created.json"
  sink=$(jq -r .sink.id "$work/created.json")
}
receiver() { (cd ../receivers && go build -o "$work" "./$1"); } # of the module beside

# revoked_key_was_used COMMAND…: it finds the use of a revoked key, and only that one. How the sink
# fares is told if it does not.
revoked_key_was_used() {
  local made id secret
  made=$(api /v1/keys "{\"org_id\":\"$org\",\"name\":\"ci\"}")
  id=$(jq -r .key.id <<< "$made") secret=$(jq -r .secret <<< "$made")
  api /v1/verify "{\"key\":\"$secret\"}" > /dev/null
  api "/v1/keys/$id/revoke" '{}' > /dev/null
  api /v1/verify "{\"key\":\"$secret\"}" > /dev/null
  for _ in $(seq 600); do # objects of S3 come after half a minute
    if [ "$("$@" 2> /dev/null | grep -c "$id")" = 1 ]; then
      echo "$siem: the use of a revoked key is found"
      return
    fi
    sleep 0.1
  done
  curl -fsS -H "Authorization: Bearer $KEYTRAIL_KEY" "$KEYTRAIL_URL/v1/sinks/$sink" >&2 || true
  fail "it does not find $id: $("$@" 2>&1 || true)"
}
