// A subscriber: makes a stream and a consumer, puts fifty records while it is subscribed, and prints how many were pushed and
// the version of HTTP. Its argument is the endpoint.

import assert from "node:assert/strict";
import http2 from "node:http2";
import {
  CreateStreamCommand,
  DescribeStreamConsumerCommand,
  KinesisClient,
  PutRecordCommand,
  RegisterStreamConsumerCommand,
  SubscribeToShardCommand,
  waitUntilStreamExists,
} from "@aws-sdk/client-kinesis";
import { eventually } from "./server.js";

const RECORDS = 50;
const [, , endpoint] = process.argv;

// The client speaks HTTP/2 alone by default; whoever connects otherwise is not counted.
let sessions = 0;
const connect = http2.connect;
http2.connect = (...given) => {
  sessions += 1;
  return connect(...given);
};

const client = new KinesisClient({
  endpoint,
  region: "eu-west-1",
  credentials: { accessKeyId: "anyone", secretAccessKey: "anything" },
  maxAttempts: 1,
});
const StreamName = "pushed";
await client.send(new CreateStreamCommand({ StreamName, ShardCount: 1 }));
const wait = { client, maxWaitTime: 120, minDelay: 0.05, maxDelay: 0.1 };
const { reason } = await waitUntilStreamExists(wait, { StreamName });
const { StreamARN } = reason.StreamDescription;
const { Consumer } = await client.send(new RegisterStreamConsumerCommand({ StreamARN, ConsumerName: "app" }));
const { ConsumerARN } = Consumer;
await eventually("the consumer", async () => {
  const { ConsumerDescription } = await client.send(new DescribeStreamConsumerCommand({ ConsumerARN }));
  return ConsumerDescription.ConsumerStatus === "ACTIVE";
});
const ShardId = "shardId-000000000000";
const StartingPosition = { Type: "LATEST" };
const subscription = await client.send(new SubscribeToShardCommand({ ConsumerARN, ShardId, StartingPosition }));
const putting = (async () => {
  for (let index = 0; index < RECORDS; index += 1) {
    await client.send(new PutRecordCommand({ StreamName, PartitionKey: "k", Data: Buffer.from(`${index}`) }));
  }
})();
const found = [];
for await (const { SubscribeToShardEvent } of subscription.EventStream) {
  found.push(...SubscribeToShardEvent.Records.map(({ Data }) => Number(new TextDecoder().decode(Data))));
  if (found.length >= RECORDS) break;
}
await putting;
assert.deepEqual(found, Array.from({ length: RECORDS }, (_, index) => index));
console.log(JSON.stringify({ pushed: found.length, version: sessions > 0 ? "2.0" : "1.1" }));
client.destroy();
process.exit(0);
