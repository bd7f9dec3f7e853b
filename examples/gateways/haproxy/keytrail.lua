-- Asks Keytrail about a request, and lets it pass or gives the client Keytrail's answer.
-- What is asked, haproxy.cfg says in the request's headers.

-- All that Keytrail gets of a request. Add the header that a keyspace reads its keys from.
local asked = {
  "authorization", "x-api-key", "x-forwarded-for", "x-forwarded-method", "x-forwarded-uri",
  "x-keytrail-scope", "x-keytrail-resource-org-id", "x-keytrail-cost",
}

-- What an allowed answer says for the client.
local limits = { "x-ratelimit-limit", "x-ratelimit-remaining", "x-ratelimit-reset", "ratelimit", "ratelimit-policy" }

-- The headers of an answer that HAProxy makes itself.
local own = { ["connection"] = true, ["transfer-encoding"] = true, ["content-length"] = true }

-- values are a header's, in order: HAProxy counts them from 0.
local function values(header)
  local all = {}
  for i, value in pairs(header) do all[i + 1] = value end
  return all
end

-- refuse ends the request with Keytrail's answer. Why a key is refused is told to the client by the
-- keyspace's reply alone.
local function refuse(txn, answer)
  local reply = txn:reply{ status = answer.status, reason = answer.reason, body = answer.body }
  for name, header in pairs(answer.headers) do
    local kept = not own[name] and name:sub(1, 11) ~= "x-keytrail-"
    for _, value in ipairs(kept and values(header) or {}) do reply:add_header(name, value) end
  end
  txn:done(reply)
end

-- A request passes only if this has set txn.keytrail: HAProxy goes on after an error of Lua's.
core.register_action("keytrail", { "http-req" }, function(txn, keyspace)
  local sent, question, kept = txn.http:req_get_headers(), {}, {}
  for _, name in ipairs(asked) do
    question[name] = sent[name] and values(sent[name])
  end
  local answer = core.httpclient():get{ url = "http://127.0.0.1/v1/authorize/" .. keyspace, headers = question, dst = "abns@keytrail", timeout = 20000 }
  if not answer.headers["x-request-id"] then return end -- not Keytrail's answer
  if answer.status ~= 200 then refuse(txn, answer) end
  for name, header in pairs(answer.headers) do
    if name:sub(1, 11) == "x-keytrail-" then txn.http:req_set_header(name, header[0]) end
  end
  for _, name in ipairs(limits) do
    kept[name] = answer.headers[name] and answer.headers[name][0]
  end
  txn:set_priv(kept)
  txn:set_var("txn.keytrail", "allowed")
end, 1)

-- Adds to a response what the client is to know of its limits.
core.register_action("keytrail_limits", { "http-res" }, function(txn)
  for name, value in pairs(txn:get_priv() or {}) do txn.http:res_set_header(name, value) end
end)
