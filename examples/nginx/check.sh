#!/usr/bin/env bash
# A real nginx with this configuration, a real service, and clients that mean no good.
set -euo pipefail
command -v nginx > /dev/null || { apt-get update -qq && apt-get install -y -qq --no-install-recommends nginx-light; }
command -v curl > /dev/null || { apt-get update -qq && apt-get install -y -qq curl; }

work=$(mktemp -d)
chmod 755 "$work" # nginx's workers are another user
trap 'kill $(jobs -p) 2> /dev/null || true; wait; rm -rf "$work"' EXIT
fail() { echo "nginx: $*" >&2; cat "$work/error.log" >&2 || true; exit 1; }

go build -o "$work/keytrail" ../../cmd/keytrail
wait_for() { for _ in $(seq 200); do "$@" > /dev/null 2>&1 && return; sleep 0.05; done; fail "still not: $*"; }

"$work/keytrail" serve --data "$work/data" --listen 127.0.0.1:0 --trusted-proxies 127.0.0.1/32 2> "$work/keytrail.log" & service=$!
wait_for grep -q 'ready on' "$work/keytrail.log"
keytrail=$(sed -n 's|.*ready on http://\([0-9.:]*\).*|\1|p' "$work/keytrail.log")

# The backend is nginx as well, and answers who it was told the request is for.
cat > "$work/nginx.conf" <<CONF
daemon off; pid $work/pid; error_log $work/error.log;
events {}
http {
  access_log off;
  client_body_temp_path $work/body; proxy_temp_path $work/proxy; fastcgi_temp_path $work/fastcgi; uwsgi_temp_path $work/uwsgi; scgi_temp_path $work/scgi;
  $(sed "s|127.0.0.1:8080|$keytrail|; s|127.0.0.1:8081|unix:$work/backend|; s|listen 80;|listen unix:$work/front;|" nginx.conf)
  server { listen unix:$work/backend; location / { return 200 "key=\$http_x_keytrail_key_id org=\$http_x_keytrail_org_id owner=\$http_x_keytrail_owner scopes=\$http_x_keytrail_scopes keyspace=\$http_x_keytrail_keyspace environment=\$http_x_keytrail_environment name=\$http_x_keytrail_name metadata=\$http_x_keytrail_metadata session=\$http_x_keytrail_session_id\$http_x_keytrail_role asked=\$http_x_keytrail_scope\$http_x_keytrail_resource_org_id\$http_x_keytrail_cost\$http_x_keytrail_refuse\$http_x_keytrail_after\$http_x_keytrail_outcome authorization=\$http_authorization api_key=\$http_x_api_key\\n"; } }
}
CONF
cp keytrail-*.conf "$work"
nginx -c "$work/nginx.conf" &
wait_for curl -s --unix-socket "$work/backend" http://backend/

export KEYTRAIL_URL=http://$keytrail KEYTRAIL_KEY_FILE=$work/data/root.key
api() { curl -fsS -H "Authorization: Bearer $(cat "$KEYTRAIL_KEY_FILE")" -H 'Content-Type: application/json' "$KEYTRAIL_URL$1" -d "$2"; }
member() { sed -n "s/.*\"$1\":\"\\([^\"]*\\)\".*/\\1/p"; }
org=$(api /v1/organizations '{"name":"acme"}' | member id)
api /v1/keyspaces '{"name":"shop","format":{"prefix":"shop_","alphabet":"base62","length":32},
  "gateway":{"record_resource":true,"rate_limit_headers":["x-ratelimit"]},
  "replies":[{"for":["MISSING"],"status":401,"body":"{\"message\": \"Unauthorized, $you\"}"},
    {"for":["NOT_FOUND"],"status":401,"content_type":"text/plain","body":"two\nlines"},
    {"for":["REVOKED"],"status":404,"content_type":"text/html","body":"<p>gone</p>\n"},
    {"for":["DISABLED"],"status":418},
    {"for":["RATE_LIMITED"],"status":429,"body":"{\n  \"error\": \"längsam\"\n}\n"}]}' > "$work/keyspace"
create() { api /v1/keys "{\"org_id\":\"$org\",\"keyspace\":\"shop\",\"name\":\"n\",$1}" | tee "$work/created" | member secret; }
good=$(create '"owner":"иван, 100%","scopes":["invoices:read"],"metadata":{"plan":"про"},"rate_limits":[{"limit":1000,"window":"720h"}]')
key=$(member id < "$work/created")
ownerless=$(create '"scopes":["invoices:read"]')
narrow=$(create '"scopes":["invoices:write"]')
limited=$(create '"scopes":["invoices:read"],"rate_limits":[{"limit":1,"window":"720h"}]')
revoked=$(create '"scopes":["invoices:read"]')
api "/v1/keys/$(member id < "$work/created")/revoke" '{}' > "$work/revoked"
disabled=$(create '"scopes":["invoices:read"]')
api "/v1/keys/$(member id < "$work/created")/disable" '{}' > "$work/disabled"

# ask STATUS TEXT ARGUMENTS…: a request through nginx has that status, and that text in its head or body.
ask() {
  local status=$1 text=$2 answer; shift 2
  answer=$(curl -s -i --unix-socket "$work/front" --path-as-is 'http://front/api/x//y/../z.html?page=2' "$@")
  grep -q "^HTTP/1.1 $status " <<< "$answer" && grep -Fqi -- "$text" <<< "$answer" || fail "curl $* gave, not $status with $text: $answer"
  printf '%s' "$answer" > "$work/answer"
}
# also TEXT and not TEXT: the same answer has it, or has it not.
also() { grep -Fqi -- "$1" "$work/answer" || fail "no $1 in $(cat "$work/answer")"; }
not() { ! grep -Fqi -- "$1" "$work/answer" || fail "$1 in $(cat "$work/answer")"; }
bearer() { echo "Authorization: Bearer $1"; }

# What may pass reaches the backend with its identity, and without the key.
ask 200 "key=$key org=$org owner=%D0%B8%D0%B2%D0%B0%D0%BD%2C%20100%25 scopes=invoices:read keyspace=shop environment= name=n metadata={\"plan\":\"\\u043f\\u0440\\u043e\"} session= asked= authorization= api_key=" -H "$(bearer "$good")"
also "X-RateLimit-Limit: 1000"
also "X-RateLimit-Remaining: 999"
ask 200 "org=$org" -H "X-API-Key: $good"
head -c 900000 /dev/zero > "$work/upload"
ask 200 "org=$org" -H "$(bearer "$good")" -T "$work/upload"
# Who may not is answered as the keyspace says.
ask 401 'WWW-Authenticate: Bearer realm="shop"' -H "X-Nothing: here"
also '{"message": "Unauthorized, $you"}'
also 'Content-Type: application/json'
not 'text/'
ask 401 'WWW-Authenticate: Bearer realm="shop", error="invalid_token"' -H "$(bearer nonsense)"
also 'Content-Type: text/plain' # a body of two lines cannot be passed on
ask 404 '<p>gone</p>' -H "$(bearer "$revoked")"
also 'Content-Type: text/html'
ask 403 'Content-Length: 0' -H "$(bearer "$disabled")" # a status that this nginx was not told of
ask 400 '"code":"malformed_credentials"' -H "Authorization: Digest x"
also 'Content-Type: application/problem+json'
ask 403 '"code":"insufficient_scope"' -H "$(bearer "$narrow")"
# What a client says of itself reaches neither Keytrail nor the backend.
spoof=(-H 'X-Keytrail-Owner: admin' -H 'X-Keytrail-Key-Id: key_admin' -H 'X-Keytrail-Org-Id: org_admin' -H 'X-Keytrail-Scopes: *' -H 'X-Keytrail-Environment: admin' -H 'X-Keytrail-Name: admin'
  -H 'X-Keytrail-Metadata: admin' -H 'X-Keytrail-Session-Id: admin' -H 'X-Keytrail-Role: admin' -H 'X-Keytrail-Keyspace: admin' -H 'X-Keytrail-Scope: admin' -H 'X-Keytrail-Refuse: admin' -H 'X-Keytrail-After: admin' -H 'X-Keytrail-Outcome: admin' -H 'X-Keytrail-Cost: 1000' -H 'X-Keytrail-Resource-Org-Id: org_admin'
  -H 'X-Forwarded-Uri: /admin' -H 'X-Original-URI: /admin' -H 'X-Forwarded-Method: ADMIN' -H 'X-Keytrail-Status: 200')
ask 200 "owner= scopes=invoices:read" -H "$(bearer "$ownerless")" "${spoof[@]}"
not admin
also "asked= "
ask 403 "" -H "$(bearer "$narrow")" "${spoof[@]}"
# A rate limit is told as such, and when to come again.
ask 200 "X-RateLimit-Remaining: 0" -H "$(bearer "$limited")"
ask 429 "Retry-After: " -H "$(bearer "$limited")"
also '{"error":"l\u00e4ngsam"}'
also "X-RateLimit-Limit: 1"
also "X-RateLimit-Reset: "
# The trail has what was asked for, as the client wrote it.
"$work/keytrail" events list --json --type key.used --all > "$work/events"
grep -Fq 'GET /api/x//y/../z.html"' "$work/events" || fail "the trail has no resource: $(cat "$work/events")"
grep -q 'page=2\|/admin' "$work/events" && fail "the trail has what it must not: $(cat "$work/events")"
# The checks share their connections.
for _ in $(seq 20); do ask 200 "" -H "$(bearer "$good")"; done
open=$(curl -fsS "$KEYTRAIL_URL/metrics" | sed -n 's/^keytrail_http_connections //p')
[ "$open" -ge 2 ] || fail "the connections to the service are not kept"
grep -q unexpected "$work/error.log" && fail "nginx did not expect an answer"
# Without Keytrail nothing passes.
kill "$service"; wait "$service" || true
ask 503 "Retry-After: " -H "$(bearer "$good")"
echo "nginx: all as it should be"
