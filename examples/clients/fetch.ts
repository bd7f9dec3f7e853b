// A client made of openapi-typescript's types and openapi-fetch.
import createClient from "openapi-fetch";
import type { components, paths } from "./generated/types.ts";
import { expect, key, url } from "./service.ts";

const client = createClient<paths>({ baseUrl: url, headers: { Authorization: `Bearer ${key}` } });

const org = await client.POST("/v1/organizations", { body: { name: "typescript" } });
expect(org.data !== undefined, org.error);
const created = await client.POST("/v1/keys", { body: { org_id: org.data.id, name: "n", scopes: ["a:read"], metadata: { plan: "pro" } } });
expect(created.data?.secret !== undefined, created.error);
expect(created.data.key.scopes.length === 1, created.data);
expect(Number(created.response.headers.get("Keytrail-Position")) > 0, created.response.headers);

const verified = await client.POST("/v1/verify", { body: { key: created.data.secret, scopes: ["a:read"] } });
expect(verified.data?.code === "VALID", verified);
const listed = await client.GET("/v1/keys", { params: { query: { org_id: org.data.id, status: "active", sort: "-created_at", limit: 10 } } });
const names: string[] = listed.data?.items.map((k) => k.name) ?? [];
expect(names.join() === "n", listed);

const revoked = await client.POST("/v1/keys/{id}/revoke", { params: { path: { id: created.data.key.id } }, body: { reason: "key_compromise" } });
expect(revoked.data?.revocation_reason === "key_compromise", revoked);
const refused = await client.POST("/v1/keys/{id}/rotate", { params: { path: { id: created.data.key.id } } });
expect(refused.error?.code === "key_revoked" && refused.response.status === 409, refused);

const line: components["schemas"]["ImportLine"] = { org_id: org.data.id, name: "old", digest: "ab".repeat(32) };
const imported = await client.POST("/v1/keys/import", {
  body: JSON.stringify(line) + "\n" + JSON.stringify({ ...line, digest: "cd".repeat(32) }) + "\n",
  bodySerializer: (lines) => lines,
  headers: { "Content-Type": "application/x-ndjson" },
});
expect(imported.data?.imported === 2, imported);
const events = await client.GET("/v1/events", { params: { query: { org_id: org.data.id, type: ["key.created", "key.revoked"], limit: 10 } } });
expect(typeof events.data === "object", events); // not a replay, which is text
expect(events.data.items.filter((e) => e.type === "key.created").length === 3, events);
const usage = await client.GET("/v1/keys/{id}/usage", { params: { path: { id: created.data.key.id }, query: { step: "24h" } } });
expect(usage.data?.key_id === created.data.key.id, usage);
