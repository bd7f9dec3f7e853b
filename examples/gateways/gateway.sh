# A real service, a backend that shows what it gets, and clients that mean no good. A check.sh
# sources this, starts its gateway on $front, with what its README adds for organizations, and
# calls try_organizations; then as it is, and calls try_gateway, which ends the service.
set -euo pipefail

gateway=$(basename "$PWD")
work=$(mktemp -d)
chmod 755 "$work" # some gateways work as another user
trap 'kill $(jobs -p) 2> /dev/null || true; wait; rm -rf "$work"' EXIT
fail() { echo "$gateway: $*" >&2; cat "$work/gateway.log" >&2 || true; exit 1; }
wait_for() { for _ in $(seq 200); do "$@" > /dev/null 2>&1 && return; sleep 0.05; done; fail "still not: $*"; }
need() { command -v "$1" > /dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends "${2:-$1}"; }; }

need curl
go build -o "$work" ../../../cmd/keytrail ../echo
"$work/keytrail" serve --data "$work/data" --listen 127.0.0.1:0 --trusted-proxies 127.0.0.0/8 2> "$work/keytrail.log" & service=$!
"$work/echo" > "$work/backend" &
wait_for grep -q 'ready on' "$work/keytrail.log"
wait_for test -s "$work/backend"
keytrail=$(sed -n 's|.*ready on http://\([0-9.:]*\).*|\1|p' "$work/keytrail.log")
backend=$(cat "$work/backend")
new_front() { front=127.$((RANDOM % 250 + 2)).$((RANDOM % 250 + 2)).$((RANDOM % 250 + 2)):8000; } # nobody else's
new_front

export KEYTRAIL_URL=http://$keytrail KEYTRAIL_KEY_FILE=$work/data/root.key
api() { curl -fsS -H "Authorization: Bearer $(cat "$KEYTRAIL_KEY_FILE")" -H 'Content-Type: application/json' "$KEYTRAIL_URL$1" -d "$2" "${@:3}"; }
member() { sed -n "s/.*\"$1\":\"\\([^\"]*\\)\".*/\\1/p"; }
org=$(api /v1/organizations '{"name":"acme"}' | member id)
create() { api /v1/keys "{\"org_id\":\"$org\",\"keyspace\":\"shop\",\"environment\":\"live\",$1}" | member secret; }
shop() { api /v1/keyspaces/shop '{
  "format": {"prefix": "shop_", "environments": [{"name": "live", "tag": "live_"}], "alphabet": "base62", "length": 32},
  "gateway": {"demands": '"$1"', "record_resource": true, "rate_limit_headers": ["x-ratelimit", "ratelimit"]},
  "replies": [
    {"for": ["MISSING", "NOT_FOUND"], "status": 401, "body": "{\"message\": \"Who are you?\"}"},
    {"for": ["INSUFFICIENT_SCOPE"], "status": 403, "content_type": "text/plain", "headers": {"X-Shop": "closed"}, "body": "Not with this key:\n{{.Scopes}}\n"},
    {"for": ["RATE_LIMITED"], "status": 429, "body": "{\"message\": \"Slow down.\"}"}]}' -X PUT > "$work/keyspace"; }

# ask STATUS TEXT ARGUMENTS…: a request through the gateway has that status, and that text in
# its head or body. It is for $path; the answer stays in $answer.
ask() {
  local status=$1 text=$2; shift 2
  answer=$(curl -s -i -m 20 --path-as-is "http://$front$path" "$@" | tr -d '\r')
  grep -q "^HTTP/[0-9.]* $status" <<< "$answer" && grep -Fqi -- "$text" <<< "$answer" || fail "curl $* gave, not $status with $text: $answer"
}
# has TEXT, without TEXT: it is in the last answer, or nowhere in it.
has() { grep -Fqi -- "$1" <<< "$answer" || fail "$1 is missing: $answer"; }
without() { ! grep -Fqi -- "$1" <<< "$answer" || fail "$1 came through: $answer"; }
bearer() { echo "Authorization: Bearer $1"; }

# try_organizations: a key is for what belongs to its organization, however the path is spelled.
try_organizations() {
  local key path
  shop '["scope", "organization"]'
  key=$(create '"name":"a key","scopes":["invoices:read"]')
  wait_for curl -s "http://$front/"
  path=/orgs/$org/invoices
  ask 200 "X-Keytrail-Org-Id: $org" -H "$(bearer "$key")"
  for path in /orgs/other/x //orgs/other/x "/orgs/$org/../other/x" "/orgs/$org/%2e%2e/other/x" "/orgs/$org%2f..%2fother/x" /%6frgs/other/x /orgs//x /x; do
    ask 40 "" -H "$(bearer "$key")"
    ask 40 "" -H "$(bearer "$key")" -H "X-Keytrail-Resource-Org-Id: $org" -H 'Connection: X-Keytrail-Resource-Org-Id'
  done
}

try_gateway() {
  local good plain narrow limited name spoof path='/api/x//y/../z%2e?page=2&scope=nonsense'
  shop '["scope"]'
  good=$(create '"name":"käse","owner":"иван, 100%","scopes":["invoices:read"],"metadata":{"plan":"größer"},"rate_limits":[{"limit":100000,"window":"720h"}]')
  plain=$(create '"name":"plain","scopes":["invoices:read"]')
  narrow=$(create '"name":"narrow","scopes":["invoices:write"]')
  limited=$(create '"name":"limited","scopes":["invoices:read"],"rate_limits":[{"limit":1,"window":"720h"}]')
  wait_for curl -s "http://$front/"

  # A good key's request arrives as it was sent, without the key and with whose it is.
  ask 200 "GET $path HTTP/1.1" -H "X-API-Key: $good"
  without "$good"
  for name in "Org-Id: $org" 'Key-Id: key_' 'Owner: %D0%B8%D0%B2%D0%B0%D0%BD%2C%20100%25' 'Scopes: invoices:read' 'Keyspace: shop' 'Environment: live' 'Name: k%C3%A4se' 'Metadata: {"plan":"gr\u00f6\u00dfer"}'; do
    has "X-Keytrail-$name"
  done
  has 'X-Forwarded-For: 127.0.0.1'
  has 'X-RateLimit-Limit: 100000'; has 'X-RateLimit-Remaining: 99999'; has 'X-RateLimit-Reset: '; has 'RateLimit: "720h";r='; has 'RateLimit-Policy: "720h";q='
  for path in '/' '//api/x' '/api/%2e%2e/x' '/api/..%2fx' '/a/../../b' '/?x=/v1/authorize/other' '/v1/authorize/other' '/x?refuse=403' '/x?after=99999999' '/x?scope=none' '/x?%zz;' '/x?a?b'; do
    ask 200 " $path HTTP/1.1" -H "$(bearer "$good")"
    ask 401 "" -H "$(bearer nonsense)"
  done
  path=/invoices/7
  for name in GET POST PUT DELETE PATCH OPTIONS PURGE; do
    ask 200 "$name $path" -X "$name" -H "$(bearer "$good")"
    ask 401 "" -X "$name"
  done
  ask 200 "HTTP/" -I -H "$(bearer "$good")"
  curl -fsS -H "$(bearer "$(cat "$KEYTRAIL_KEY_FILE")")" "$KEYTRAIL_URL/v1/events?type=key.used&limit=50" > "$work/trail"
  grep -Fq '"DELETE /invoices/7"' "$work/trail" && grep -Fq '"127.0.0.1"' "$work/trail" || fail "the trail does not tell what was asked for: $(cat "$work/trail")"

  # A body of the client's arrives whole at the backend, and never at Keytrail.
  head -c 3000000 /dev/zero > "$work/upload"
  ask 200 "Body-Bytes: 3000000" -T "$work/upload" -H "$(bearer "$good")"
  ask 200 "Body-Bytes: 3000000" -T "$work/upload" -H 'Transfer-Encoding: chunked' -H 'Expect:' -H "$(bearer "$good")"
  ask 200 "Body-Bytes: 3" -X GET -d abc -H "$(bearer "$good")"
  ask 401 "" -T "$work/upload" -H "$(bearer nonsense)"

  # Refusals reach the client as the keyspace has them.
  ask 401 '{"message": "Who are you?"}'
  has 'Content-Type: application/json'; has 'WWW-Authenticate: Bearer realm="shop"'
  ask 401 '{"message": "Who are you?"}' -H "$(bearer nonsense)"
  has 'error="invalid_token"'; without X-Keytrail
  ask 403 'Not with this key:' -H "$(bearer "$narrow")"
  has 'Content-Type: text/plain'; has 'X-Shop: closed'; has 'error="insufficient_scope", scope="invoices:read"'; [ "$(tail -n 1 <<< "$answer")" = invoices:read ] || fail "the body is not whole: $answer"
  ask 400 malformed_credentials -H "$(bearer "$good")" -H "X-API-Key: $narrow"
  ask 200 'X-RateLimit-Remaining: 0' -H "$(bearer "$limited")"
  ask 429 '{"message": "Slow down."}' -H "$(bearer "$limited")"
  has 'Retry-After: '; has 'X-RateLimit-Limit: 1'; has 'X-RateLimit-Remaining: 0'; has 'X-RateLimit-Reset: '; has 'RateLimit: "720h";r=0'

  # What a client says of itself reaches neither Keytrail nor the backend.
  spoof=(-H 'X-Forwarded-For: 6.6.6.6' -H 'X-Forwarded-Method: SPOOF' -H 'X-Forwarded-Uri: /spoof' -H 'X-Original-Uri: /spoof')
  for name in Owner Key-Id Org-Id Scopes Name Metadata Keyspace Environment Outcome Scope Refuse After Resource-Org-Id Cost Anything; do
    spoof+=(-H "X-Keytrail-$name: spoof" -H "x-keytrail-$name: spoof" -H "X_Keytrail_${name//-/_}: spoof" -H "X-Keytrail_$name: spoof")
  done
  ask 200 "X-Keytrail-Scopes: invoices:read" -H "$(bearer "$plain")" "${spoof[@]}"
  without spoof; without 6.6.6.6
  ask 403 "Not with this key" -H "$(bearer "$narrow")" "${spoof[@]}"
  # Nor does a client have anything left out.
  for name in X-Keytrail-Scope X-Keytrail-Owner x-keytrail-org-id X-Forwarded-Uri Authorization; do
    answer=$(curl -s -i "http://$front/" -H "$(bearer "$narrow")" -H "Connection: close, $name")
    grep -q '^HTTP/[0-9.]* 40[013]' <<< "$answer" || fail "Connection: $name gave $answer"
  done

  # The checks share their connections.
  for _ in $(seq 30); do ask 200 "" -H "$(bearer "$good")"; done
  open=$(curl -fsS "$KEYTRAIL_URL/metrics" | sed -n 's/^keytrail_http_connections //p')
  { [ "$open" -ge 2 ] && [ "$open" -le 10 ]; } || fail "there are $open connections to the service"

  # Without Keytrail nothing passes: it hangs, and it is away.
  kill -STOP "$service"
  ask 503 'Retry-After: ' -H "$(bearer "$good")"
  kill -CONT "$service"; kill "$service"; wait "$service" || true
  ask 503 'Retry-After: ' -H "$(bearer "$good")"
  echo "$gateway: all as it should be"
}
