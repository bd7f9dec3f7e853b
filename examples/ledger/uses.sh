#!/usr/bin/env bash
# Prints a message of uses with nothing but standard tools: bash, jq, base64, zstd. NATS speaks
# text: this asks JetStream for one message of the stream and decodes its body.
#
#   ./uses.sh 127.0.0.1 4222 1
set -euo pipefail
host=$1 port=$2 sequence=$3

request="{\"seq\":$sequence}"
exec 3<> "/dev/tcp/$host/$port"
printf 'CONNECT {"verbose":false}\r\nSUB answer 1\r\nPUB $JS.API.STREAM.MSG.GET.KEYTRAIL_USES answer %d\r\n%s\r\n' "${#request}" "$request" >&3
while IFS= read -r line <&3; do
  case $line in
    MSG*) IFS= read -r answer <&3; break ;;
  esac
done
jq -er '.message.data // error(.error.description)' <<< "$answer" | base64 -d | zstd -dc
