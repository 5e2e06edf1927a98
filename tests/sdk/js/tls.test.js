// The AWS SDK for JavaScript v3, unmodified, on its default HTTP/2: records pushed by SubscribeToShard, in the clear by prior
// knowledge and in TLS. Node takes a further certificate to trust from its environment only, so the client is a process of
// its own.

import assert from "node:assert/strict";
import { spawnSync, spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { Server } from "./server.js";

/** Runs the subscriber against an endpoint; what it printed. */
async function subscriber(endpoint, environment) {
  const script = new URL("./subscriber.js", import.meta.url).pathname;
  const child = spawn(process.execPath, [script, endpoint], { env: { ...process.env, ...environment } });
  const said = { stdout: "", stderr: "" };
  for (const stream of ["stdout", "stderr"]) child[stream].on("data", (text) => (said[stream] += text));
  const code = await new Promise((resolve) => child.on("close", resolve));
  return { code, ...said };
}

test("records are pushed in the clear", async () => {
  const server = await Server.start();
  try {
    const { code, stdout, stderr } = await subscriber(server.endpoint, {});
    assert.equal(code, 0, stderr);
    assert.deepEqual(JSON.parse(stdout), { pushed: 50, version: "2.0" });
  } finally {
    await server.stop();
  }
});

test("records are pushed in TLS to who trusts", async () => {
  const folder = mkdtempSync(join(tmpdir(), "headwater-certs-"));
  const made = spawnSync(process.env.HEADWATER_BIN, ["certs", folder], { encoding: "utf8" });
  assert.equal(made.status, 0, made.stderr);
  const files = ["--tls-certificate", join(folder, "server.pem"), "--tls-key", join(folder, "server-key.pem")];
  const server = await Server.start(...files);
  try {
    assert.match(server.endpoint, /^https:/);
    const { code, stdout, stderr } = await subscriber(server.endpoint, { NODE_EXTRA_CA_CERTS: join(folder, "ca.pem") });
    assert.equal(code, 0, stderr);
    console.log(`in TLS: ${stdout.trim()}`);
    assert.deepEqual(JSON.parse(stdout), { pushed: 50, version: "2.0" });
    const strange = await subscriber(server.endpoint, {});
    assert.notEqual(strange.code, 0, "a certificate is trusted that nobody vouches for");
    assert.match(strange.stderr, /certificate|self.signed|UNABLE_TO_VERIFY/i);
  } finally {
    await server.stop();
    rmSync(folder, { recursive: true, force: true });
  }
});
