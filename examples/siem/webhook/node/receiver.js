// A receiver of webhooks: it checks each with the reference library of Standard Webhooks, drops
// repeats, and writes what is new to standard output.
//
//   node receiver.js ADDRESS:PORT CERTIFICATE KEY SECRET_FILE
import { readFileSync } from "node:fs";
import { createServer } from "node:https";
import { Webhook } from "standardwebhooks";

const [address, certificate, key, secret] = process.argv.slice(2);
const [host, port] = address.split(":");
const webhook = new Webhook(readFileSync(secret, "utf8").trim());
const seen = new Set(); // by webhook-id; in production a table with a unique column

// The body as it came, not parsed and written again: that is what is signed.
async function bodyOf(request) {
  const parts = [];
  for await (const part of request) parts.push(part);
  return Buffer.concat(parts).toString();
}

createServer({ cert: readFileSync(certificate), key: readFileSync(key) }, async (request, response) => {
  const body = await bodyOf(request);
  try {
    webhook.verify(body, request.headers);
  } catch (error) {
    response.writeHead(401).end(error.message);
    return;
  }
  const id = request.headers["webhook-id"];
  if (!seen.has(id)) {
    seen.add(id);
    console.log(body);
  }
  response.writeHead(204).end();
}).listen(Number(port), host);
