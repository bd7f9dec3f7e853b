#!/usr/bin/env bash
# A real HAProxy with this configuration.
source ../gateway.sh
need haproxy

# start FILE: with these rules, too.
start() {
  sed "s|abns@keytrail|&-$front|" keytrail.lua > "$work/keytrail.lua.$front"
  sed "s|127.0.0.1:8080|$keytrail|; s|127.0.0.1:8081|$backend|; s|bind :80|bind $front|; s|abns@keytrail|&-$front|; s|server 15s|server 1s|
    s|lua-load-per-thread .*|lua-load-per-thread $work/keytrail.lua.$front|; /set-header X-Keytrail-Scope/r $1" haproxy.cfg > "$work/haproxy.cfg.$front"
  haproxy -f "$work/haproxy.cfg.$front" 2> "$work/gateway.log" &
}

grep '^http-request ' README.md > "$work/readme"
start "$work/readme"
try_organizations
new_front
start /dev/null
try_gateway
