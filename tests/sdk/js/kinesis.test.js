// The AWS SDK for JavaScript v3, unmodified, on its default HTTP/2: data streams, their records, shards, consumers and
// errors.

import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { after, before, test } from "node:test";
import {
  AddTagsToStreamCommand,
  CreateStreamCommand,
  DecreaseStreamRetentionPeriodCommand,
  DeleteStreamCommand,
  DeregisterStreamConsumerCommand,
  DescribeStreamCommand,
  DescribeStreamConsumerCommand,
  DescribeStreamSummaryCommand,
  GetRecordsCommand,
  GetShardIteratorCommand,
  IncreaseStreamRetentionPeriodCommand,
  InvalidArgumentException,
  KinesisClient,
  ListShardsCommand,
  ListTagsForResourceCommand,
  ListTagsForStreamCommand,
  MergeShardsCommand,
  PutRecordCommand,
  PutRecordsCommand,
  RegisterStreamConsumerCommand,
  ResourceInUseException,
  ResourceNotFoundException,
  SplitShardCommand,
  StartStreamEncryptionCommand,
  UpdateShardCountCommand,
  paginateListStreamConsumers,
  paginateListStreams,
  waitUntilStreamExists,
  waitUntilStreamNotExists,
} from "@aws-sdk/client-kinesis";
import { Server } from "./server.js";

const ALL_HASHES = 1n << 128n;
let server, client;
const counts = { put: 0, read: 0, shards: 0, refusals: 0 };

before(async () => {
  server = await Server.start();
  client = new KinesisClient(server.settings());
});

after(async () => {
  client.destroy();
  await server.stop();
  console.log(`kinesis: ${JSON.stringify(counts)}`);
  for (const [what, count] of Object.entries(counts)) assert.ok(count > 0, `no ${what}`);
});

const send = (command) => client.send(command);

async function active(StreamName) {
  await waitUntilStreamExists({ client, maxWaitTime: 120, minDelay: 0.05, maxDelay: 0.1 }, { StreamName });
  const { StreamDescriptionSummary } = await send(new DescribeStreamSummaryCommand({ StreamName }));
  return StreamDescriptionSummary;
}

async function stream(StreamName, ShardCount) {
  await send(new CreateStreamCommand({ StreamName, ShardCount }));
  return active(StreamName);
}

async function shards(StreamName, more) {
  const { Shards } = await send(new ListShardsCommand({ StreamName, ...more }));
  counts.shards += Shards.length;
  return Shards;
}

async function put(StreamName, PartitionKey, data, more) {
  const Data = typeof data === "string" ? new TextEncoder().encode(data) : data;
  const answer = await send(new PutRecordCommand({ StreamName, PartitionKey, Data, ...more }));
  counts.put += 1;
  return answer;
}

/** A shard's records up to its tip or its end, and the children that its end names. */
async function read(StreamName, ShardId, start) {
  const from = { StreamName, ShardId, ShardIteratorType: "TRIM_HORIZON", ...start };
  let { ShardIterator } = await send(new GetShardIteratorCommand(from));
  const records = [];
  for (;;) {
    const page = await send(new GetRecordsCommand({ ShardIterator, Limit: 3 }));
    records.push(...page.Records);
    counts.read += page.Records.length;
    if (!page.NextShardIterator) return { records, children: page.ChildShards };
    if (page.Records.length === 0 && page.MillisBehindLatest === 0) return { records };
    ShardIterator = page.NextShardIterator;
  }
}

const texts = ({ records }) => records.map(({ Data }) => new TextDecoder().decode(Data));

test("a stream lives and dies", async () => {
  const StreamName = "life";
  const summary = await stream(StreamName, 3);
  assert.equal(summary.OpenShardCount, 3);
  assert.ok(summary.StreamCreationTimestamp instanceof Date);
  const { StreamDescription } = await send(new DescribeStreamCommand({ StreamName }));
  const width = ALL_HASHES / 3n;
  assert.deepEqual(
    StreamDescription.Shards.map(({ HashKeyRange }) => BigInt(HashKeyRange.StartingHashKey)),
    [0n, width, 2n * width],
  );
  await send(new IncreaseStreamRetentionPeriodCommand({ StreamName, RetentionPeriodHours: 72 }));
  assert.equal((await active(StreamName)).RetentionPeriodHours, 72);
  await send(new DecreaseStreamRetentionPeriodCommand({ StreamName, RetentionPeriodHours: 24 }));
  assert.equal((await active(StreamName)).RetentionPeriodHours, 24);
  await send(new StartStreamEncryptionCommand({ StreamName, EncryptionType: "KMS", KeyId: "alias/aws/kinesis" }));
  assert.equal((await active(StreamName)).KeyId, "alias/aws/kinesis");
  await send(new AddTagsToStreamCommand({ StreamName, Tags: { größe: "1 + 1" } }));
  const Tags = [{ Key: "größe", Value: "1 + 1" }];
  assert.deepEqual((await send(new ListTagsForStreamCommand({ StreamName }))).Tags, Tags);
  const ResourceARN = summary.StreamARN;
  assert.deepEqual((await send(new ListTagsForResourceCommand({ ResourceARN }))).Tags, Tags);
  const names = [];
  for await (const page of paginateListStreams({ client, pageSize: 1 }, {})) names.push(...page.StreamNames);
  assert.ok(names.includes(StreamName));
  await send(new DeleteStreamCommand({ StreamName }));
  await waitUntilStreamNotExists({ client, maxWaitTime: 120, minDelay: 0.05, maxDelay: 0.1 }, { StreamName });
});

test("records come back as they were put", async () => {
  const StreamName = "records";
  await stream(StreamName, 2);
  const large = new Uint8Array(1 << 20).map((_, index) => index % 251);
  const wanted = [
    ["k", new Uint8Array()],
    ["k", new Uint8Array([0, 255, 128])],
    ["🦀".repeat(256), new TextEncoder().encode("grüße")],
    ["large", large],
  ];
  const answers = [];
  for (const [key, data] of wanted) answers.push(await put(StreamName, key, data));
  const found = new Map();
  for (const { ShardId, HashKeyRange } of await shards(StreamName)) {
    for (const record of (await read(StreamName, ShardId)).records) {
      const hash = BigInt(`0x${createHash("md5").update(record.PartitionKey).digest("hex")}`);
      assert.ok(hash >= BigInt(HashKeyRange.StartingHashKey) && hash <= BigInt(HashKeyRange.EndingHashKey));
      assert.ok(record.ApproximateArrivalTimestamp instanceof Date);
      found.set(`${ShardId} ${record.SequenceNumber}`, record);
    }
  }
  assert.equal(found.size, wanted.length);
  answers.forEach(({ ShardId, SequenceNumber }, index) => {
    const { PartitionKey, Data } = found.get(`${ShardId} ${SequenceNumber}`);
    assert.equal(PartitionKey, wanted[index][0]);
    assert.ok(Buffer.from(Data).equals(Buffer.from(wanted[index][1])));
  });
});

test("iterators of five types begin where they say", async () => {
  const StreamName = "iterators";
  await stream(StreamName, 2);
  const [, second] = await shards(StreamName);
  const { ShardId } = second;
  const ExplicitHashKey = second.HashKeyRange.EndingHashKey;
  const Records = [..."abcde"].map((letter) => ({ PartitionKey: "k", ExplicitHashKey, Data: Buffer.from(letter) }));
  const answer = await send(new PutRecordsCommand({ StreamName, Records }));
  counts.put += Records.length;
  assert.equal(answer.FailedRecordCount, 0);
  assert.ok(answer.Records.every((record) => record.ShardId === ShardId));
  const all = await read(StreamName, ShardId);
  assert.deepEqual(texts(all), [..."abcde"]);
  const { StartingSequenceNumber } = second.SequenceNumberRange;
  const third = answer.Records[2].SequenceNumber;
  for (const [start, letters] of [
    [{ ShardIteratorType: "AT_SEQUENCE_NUMBER", StartingSequenceNumber }, "abcde"],
    [{ ShardIteratorType: "AT_SEQUENCE_NUMBER", StartingSequenceNumber: third }, "cde"],
    [{ ShardIteratorType: "AFTER_SEQUENCE_NUMBER", StartingSequenceNumber: third }, "de"],
    [{ ShardIteratorType: "LATEST" }, ""],
    [{ ShardIteratorType: "AT_TIMESTAMP", Timestamp: all.records[0].ApproximateArrivalTimestamp }, "abcde"],
  ]) {
    assert.equal(texts(await read(StreamName, ShardId, start)).join(""), letters, JSON.stringify(start));
  }
});

test("shards split, merge and scale without a hole", async () => {
  const StreamName = "shards";
  await stream(StreamName, 1);
  await put(StreamName, "k", "1");
  const NewStartingHashKey = (ALL_HASHES / 2n).toString();
  await send(new SplitShardCommand({ StreamName, ShardToSplit: "shardId-000000000000", NewStartingHashKey }));
  await active(StreamName);
  await put(StreamName, "k", "2");
  const parent = await read(StreamName, "shardId-000000000000");
  assert.deepEqual(texts(parent), ["1"]);
  const [low, high] = parent.children.map((child) => child.ShardId);
  assert.deepEqual(parent.children[0].ParentShards, ["shardId-000000000000"]);
  await send(new MergeShardsCommand({ StreamName, ShardToMerge: low, AdjacentShardToMerge: high }));
  await active(StreamName);
  await put(StreamName, "k", "3");
  const order = [];
  for (const { ShardId } of await shards(StreamName)) order.push(...texts(await read(StreamName, ShardId)));
  assert.deepEqual(order, ["1", "2", "3"]);
  const scale = { StreamName, TargetShardCount: 2, ScalingType: "UNIFORM_SCALING" };
  assert.equal((await send(new UpdateShardCountCommand(scale))).CurrentShardCount, 1);
  assert.equal((await active(StreamName)).OpenShardCount, 2);
  const open = await shards(StreamName, { ShardFilter: { Type: "AT_LATEST" } });
  assert.deepEqual(open.map(({ HashKeyRange }) => HashKeyRange.StartingHashKey).sort(), ["0", NewStartingHashKey]);
});

test("consumers come and go", async () => {
  const { StreamARN } = await stream("consumers", 1);
  for (const ConsumerName of ["one", "two"]) {
    const { Consumer } = await send(new RegisterStreamConsumerCommand({ StreamARN, ConsumerName }));
    assert.equal(Consumer.ConsumerStatus, "CREATING");
    await consumer(StreamARN, ConsumerName, "ACTIVE");
  }
  const names = [];
  for await (const page of paginateListStreamConsumers({ client, pageSize: 1 }, { StreamARN })) {
    names.push(...page.Consumers.map((each) => each.ConsumerName));
  }
  assert.deepEqual(names.sort(), ["one", "two"]);
  await send(new DeregisterStreamConsumerCommand({ StreamARN, ConsumerName: "one" }));
  await consumer(StreamARN, "one", undefined);
});

/** Waits until a consumer is in a state; `undefined` is gone. At most two minutes. */
async function consumer(StreamARN, ConsumerName, wanted) {
  for (const end = Date.now() + 120_000; Date.now() < end; ) {
    const described = await send(new DescribeStreamConsumerCommand({ StreamARN, ConsumerName })).catch((refused) => {
      assert.ok(refused instanceof ResourceNotFoundException, refused);
    });
    if (described?.ConsumerDescription.ConsumerStatus === wanted) return described?.ConsumerDescription;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  throw new Error(`${ConsumerName} is never ${wanted}`);
}

test("refusals have the service's names and texts", async () => {
  const StreamName = "refusals";
  await stream(StreamName, 1);
  for (const [command, type, message] of [
    [new CreateStreamCommand({ StreamName, ShardCount: 1 }), ResourceInUseException, "Stream refusals under account 000000000000 already exists."],
    [new DescribeStreamCommand({ StreamName: "none" }), ResourceNotFoundException, "Stream none under account 000000000000 not found."],
    [new GetRecordsCommand({ ShardIterator: "garbage" }), InvalidArgumentException, "Invalid ShardIterator."],
    [
      new SplitShardCommand({ StreamName, ShardToSplit: "shardId-000000000007", NewStartingHashKey: "7" }),
      ResourceNotFoundException,
      "Could not find shard shardId-000000000007 in stream refusals under account 000000000000.",
    ],
  ]) {
    await assert.rejects(send(command), (refused) => {
      assert.ok(refused instanceof type, refused);
      assert.equal(refused.message, message);
      assert.equal(refused.$metadata.httpStatusCode, 400);
      return true;
    });
    counts.refusals += 1;
  }
});

test("many calls share one connection", async () => {
  const StreamName = "many";
  await stream(StreamName, 4);
  await Promise.all(Array.from({ length: 200 }, (_, index) => put(StreamName, `k${index}`, `${index}`)));
  const found = [];
  for (const { ShardId } of await shards(StreamName)) found.push(...texts(await read(StreamName, ShardId)));
  assert.deepEqual(found.map(Number).sort((a, b) => a - b), Array.from({ length: 200 }, (_, index) => index));
});
