// A client as @hey-api/openapi-ts makes it by default, which sends each credential that the
// document names.
import { client } from "./generated/hey/client.gen.ts";
import { createKey, createOrganization, importKeys, listKeys, revokeKeys, verifyKey } from "./generated/hey/sdk.gen.ts";
import { expect, key, url } from "./service.ts";

client.setConfig({ baseUrl: url, auth: () => key });

const org = await createOrganization({ body: { name: "hey" } });
expect(org.data !== undefined, org.error);
const created = await createKey({ body: { org_id: org.data.id, name: "n", owner: "leaver", rate_limits: [{ limit: 5, window: "1m" }] } });
expect(created.data?.secret !== undefined, created.error);
const verified = await verifyKey({ body: { key: created.data.secret } });
expect(verified.data?.code === "VALID" && verified.data.rate_limits?.[0]?.remaining === 4, verified);
const imported = await importKeys({ body: JSON.stringify({ org_id: org.data.id, name: "old", digest: "ef".repeat(32) }), bodySerializer: null });
expect(imported.data?.imported === 1, imported);
const revoked = await revokeKeys({ body: { filter: { org_id: org.data.id, owner: "leaver" }, reason: "affiliation_changed" } });
expect(revoked.data?.revoked === 1 && revoked.data.next_cursor === null, revoked);
const listed = await listKeys({ query: { org_id: org.data.id, status: "revoked" } });
expect(listed.data?.items[0]?.owner === "leaver", listed);
