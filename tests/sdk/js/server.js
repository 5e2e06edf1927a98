// Starts and stops a Headwater server for tests, and makes unmodified clients that talk to it.

import { spawn } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { DynamoDBClient } from "@aws-sdk/client-dynamodb";
import { DynamoDBStreamsClient, DescribeStreamCommand, GetRecordsCommand, GetShardIteratorCommand } from "@aws-sdk/client-dynamodb-streams";

const READY_WITHIN_MS = 60_000;

/** A server process on a data directory of its own; `stop` ends it and fails when it does not end well. */
export class Server {
  static async start(...more) {
    const binary = process.env.HEADWATER_BIN;
    if (!binary) throw new Error("HEADWATER_BIN is not set: run `cargo xtask ci`");
    const server = new Server();
    server.folder = mkdtempSync(join(tmpdir(), "headwater-test-"));
    const flags = ["--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0", "--data-dir", join(server.folder, "data"), ...more];
    server.process = spawn(binary, flags, { stdio: ["ignore", "pipe", "pipe"] });
    server.output = "";
    server.endpoint = await new Promise((resolve, reject) => {
      const late = setTimeout(() => reject(new Error(`not ready:\n${server.output}`)), READY_WITHIN_MS);
      const read = (text) => {
        server.output += text;
        const found = /^\s*dynamodb\s+(https?:\/\/\S+)/m.exec(server.output);
        if (found && /^\s*try:/m.test(server.output)) {
          clearTimeout(late);
          resolve(found[1]);
        }
      };
      server.process.stdout.on("data", read);
      server.process.stderr.on("data", read);
      server.process.on("exit", (code) => reject(new Error(`ended with ${code}:\n${server.output}`)));
    });
    return server;
  }

  /** What every client is given; a server without configured credentials takes any. */
  settings() {
    return {
      endpoint: this.endpoint,
      region: "eu-west-1",
      credentials: { accessKeyId: "anyone", secretAccessKey: "anything" },
      maxAttempts: 1,
    };
  }

  client() {
    return new DynamoDBClient(this.settings());
  }

  streams() {
    return new DynamoDBStreamsClient(this.settings());
  }

  async stop() {
    this.process.removeAllListeners("exit");
    const ended = new Promise((resolve) => this.process.on("exit", resolve));
    this.process.kill("SIGTERM");
    const code = await ended;
    rmSync(this.folder, { recursive: true, force: true });
    if (code !== 0) throw new Error(`exit code ${code}:\n${this.output}`);
  }
}

/** All records of a stream, shard after shard. */
export async function records(client, arn) {
  const { StreamDescription } = await client.send(new DescribeStreamCommand({ StreamArn: arn }));
  const found = [];
  for (const { ShardId } of StreamDescription.Shards) {
    const start = { StreamArn: arn, ShardId, ShardIteratorType: "TRIM_HORIZON" };
    let { ShardIterator } = await client.send(new GetShardIteratorCommand(start));
    while (ShardIterator) {
      const page = await client.send(new GetRecordsCommand({ ShardIterator }));
      found.push(...page.Records);
      ShardIterator = page.Records.length > 0 ? page.NextShardIterator : undefined;
    }
  }
  return found;
}

/** Asks until `wanted` gives something, two minutes and more: the bound only ends a broken run. */
export async function eventually(what, wanted) {
  for (let tries = 0; tries < 2_400; tries += 1) {
    const found = await wanted();
    if (found) return found;
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
  throw new Error(`${what} does not come`);
}
