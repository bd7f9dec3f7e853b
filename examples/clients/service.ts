// The service under test, and what is expected of it.
declare const process: { env: Record<string, string | undefined> };

export const url = process.env.KEYTRAIL_URL ?? "";
export const key = process.env.KEYTRAIL_KEY ?? "";

export function expect(condition: boolean, seen: unknown): asserts condition {
  if (!condition) throw new Error("unexpected: " + JSON.stringify(seen));
}
