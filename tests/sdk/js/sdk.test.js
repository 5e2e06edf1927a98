// The AWS SDK for JavaScript v3, unmodified: indexes, transactions, legacy parameters, expiry, tags, and what a stream
// shows of them.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import {
  CreateTableCommand,
  DescribeTableCommand,
  DescribeTimeToLiveCommand,
  ListTagsOfResourceCommand,
  TagResourceCommand,
  UntagResourceCommand,
  UpdateItemCommand,
  UpdateTableCommand,
  UpdateTimeToLiveCommand,
  waitUntilTableExists,
} from "@aws-sdk/client-dynamodb";
import {
  BatchWriteCommand,
  DeleteCommand,
  DynamoDBDocumentClient,
  GetCommand,
  PutCommand,
  QueryCommand,
  ScanCommand,
  TransactGetCommand,
  TransactWriteCommand,
  UpdateCommand,
  paginateQuery,
  paginateScan,
} from "@aws-sdk/lib-dynamodb";
import { Server, eventually, records } from "./server.js";

let server, client, documents, streams;
const counts = { items: 0, pages: 0, records: 0, transactions: 0 };

before(async () => {
  server = await Server.start();
  client = server.client();
  documents = DynamoDBDocumentClient.from(client);
  streams = server.streams();
});

after(async () => {
  client.destroy();
  streams.destroy();
  await server.stop();
  console.log(`sdk: ${JSON.stringify(counts)}`);
  for (const [what, count] of Object.entries(counts)) assert.ok(count > 0, `no ${what}`);
});

const attribute = (AttributeName, AttributeType) => ({ AttributeName, AttributeType });
const keys = (hash, range) => [
  { AttributeName: hash, KeyType: "HASH" },
  ...(range ? [{ AttributeName: range, KeyType: "RANGE" }] : []),
];

async function table(TableName, more) {
  const made = await client.send(new CreateTableCommand({ TableName, BillingMode: "PAY_PER_REQUEST", ...more }));
  await waitUntilTableExists({ client, maxWaitTime: 20, minDelay: 0.1, maxDelay: 0.2 }, { TableName });
  return made.TableDescription;
}

const orders = (TableName) =>
  table(TableName, {
    AttributeDefinitions: [attribute("customer", "S"), attribute("order", "N"), attribute("status", "S"), attribute("total", "N")],
    KeySchema: keys("customer", "order"),
    LocalSecondaryIndexes: [
      { IndexName: "by-total", KeySchema: keys("customer", "total"), Projection: { ProjectionType: "KEYS_ONLY" } },
    ],
    GlobalSecondaryIndexes: [
      { IndexName: "by-status", KeySchema: keys("status", "order"), Projection: { ProjectionType: "INCLUDE", NonKeyAttributes: ["note"] } },
    ],
    StreamSpecification: { StreamEnabled: true, StreamViewType: "NEW_AND_OLD_IMAGES" },
  });

test("indexes are queried and scanned page by page", async () => {
  const TableName = "orders";
  await orders(TableName);
  for (let from = 0; from < 100; from += 25) {
    const requests = Array.from({ length: 25 }, (_, at) => {
      const order = from + at;
      const Item = { customer: `c${order % 4}`, order, total: 1000 - order, status: order % 3 ? "open" : "done", note: `n${order}` };
      return { PutRequest: { Item } };
    });
    await documents.send(new BatchWriteCommand({ RequestItems: { [TableName]: requests } }));
    counts.items += requests.length;
  }
  const query = {
    TableName,
    IndexName: "by-status",
    KeyConditionExpression: "#s = :open AND #o > :from",
    ExpressionAttributeNames: { "#s": "status", "#o": "order" },
    ExpressionAttributeValues: { ":open": "open", ":from": 9 },
  };
  const found = [];
  for await (const page of paginateQuery({ client: documents, pageSize: 7 }, query)) {
    found.push(...page.Items);
    counts.pages += 1;
    if (page.LastEvaluatedKey) assert.deepEqual(Object.keys(page.LastEvaluatedKey).sort(), ["customer", "order", "status"]);
  }
  const expected = Array.from({ length: 100 }, (_, order) => order).filter((order) => order > 9 && order % 3);
  assert.deepEqual(found.map((item) => item.order), expected);
  assert.deepEqual(Object.keys(found[0]).sort(), ["customer", "note", "order", "status"]);

  const cheapest = await documents.send(
    new QueryCommand({
      TableName,
      IndexName: "by-total",
      KeyConditionExpression: "customer = :c",
      ExpressionAttributeValues: { ":c": "c1" },
      Select: "ALL_ATTRIBUTES",
      ConsistentRead: true,
      Limit: 2,
    }),
  );
  assert.deepEqual(cheapest.Items.map((item) => [item.order, item.note]), [[97, "n97"], [93, "n93"]]);

  let scanned = 0;
  for (let Segment = 0; Segment < 4; Segment += 1) {
    for await (const page of paginateScan({ client: documents, pageSize: 10 }, { TableName, IndexName: "by-status", Segment, TotalSegments: 4 })) {
      scanned += page.Count;
      counts.pages += 1;
    }
  }
  assert.equal(scanned, 100);
});

test("an index is added and removed while writers run", async () => {
  const TableName = "grown";
  await table(TableName, { AttributeDefinitions: [attribute("id", "N")], KeySchema: keys("id") });
  let writing = true;
  let written = 0;
  const writer = (async () => {
    while (writing || written < 300) {
      await documents.send(new PutCommand({ TableName, Item: { id: written % 500, kind: `k${written % 7}`, version: written } }));
      written += 1;
    }
  })();
  await eventually("a start", async () => written > 200);
  await client.send(
    new UpdateTableCommand({
      TableName,
      AttributeDefinitions: [attribute("kind", "S"), attribute("id", "N")],
      GlobalSecondaryIndexUpdates: [{ Create: { IndexName: "by-kind", KeySchema: keys("kind", "id"), Projection: { ProjectionType: "ALL" } } }],
    }),
  );
  await eventually("the index", async () => {
    const { Table } = await client.send(new DescribeTableCommand({ TableName }));
    return Table.GlobalSecondaryIndexes[0].IndexStatus === "ACTIVE";
  });
  writing = false;
  await writer;
  counts.items += written;
  const all = await documents.send(new ScanCommand({ TableName }));
  let indexed = [];
  for (let kind = 0; kind < 7; kind += 1) {
    const page = await documents.send(
      new QueryCommand({ TableName, IndexName: "by-kind", KeyConditionExpression: "kind = :k", ExpressionAttributeValues: { ":k": `k${kind}` } }),
    );
    indexed = indexed.concat(page.Items);
  }
  const sorted = (items) => items.map((item) => JSON.stringify(item, Object.keys(item).sort())).sort();
  assert.deepEqual(sorted(indexed), sorted(all.Items));
  await client.send(new UpdateTableCommand({ TableName, GlobalSecondaryIndexUpdates: [{ Delete: { IndexName: "by-kind" } }] }));
  await eventually("the end of the index", async () => {
    const { Table } = await client.send(new DescribeTableCommand({ TableName }));
    return Table.GlobalSecondaryIndexes === undefined && Table.TableStatus === "ACTIVE";
  });
});

test("transactions happen as a whole, once, and show in the stream", async () => {
  const TableName = "accounts";
  const { LatestStreamArn } = await table(TableName, {
    AttributeDefinitions: [attribute("id", "S")],
    KeySchema: keys("id"),
    StreamSpecification: { StreamEnabled: true, StreamViewType: "NEW_AND_OLD_IMAGES" },
  });
  for (const id of ["a", "b"]) await documents.send(new PutCommand({ TableName, Item: { id, amount: 100 } }));
  const move = (amount, token) =>
    new TransactWriteCommand({
      ClientRequestToken: token,
      TransactItems: [
        {
          Update: {
            TableName,
            Key: { id: "a" },
            UpdateExpression: "SET amount = amount - :x",
            ConditionExpression: "amount >= :x",
            ExpressionAttributeValues: { ":x": amount },
            ReturnValuesOnConditionCheckFailure: "ALL_OLD",
          },
        },
        { Update: { TableName, Key: { id: "b" }, UpdateExpression: "ADD amount :x", ExpressionAttributeValues: { ":x": amount } } },
      ],
    });
  await Promise.all(Array.from({ length: 9 }, () => documents.send(move(10))));
  await documents.send(move(5, "once"));
  await documents.send(move(5, "once"));
  counts.transactions += 11;
  await assert.rejects(documents.send(move(6, "once")), { name: "IdempotentParameterMismatchException" });
  await assert.rejects(documents.send(move(50)), (error) => {
    assert.equal(error.name, "TransactionCanceledException");
    assert.deepEqual(error.CancellationReasons.map((reason) => reason.Code), ["ConditionalCheckFailed", "None"]);
    assert.deepEqual(error.CancellationReasons[0].Item, { id: { S: "a" }, amount: { N: "5" } });
    return true;
  });
  const { Responses } = await documents.send(
    new TransactGetCommand({ TransactItems: ["a", "b", "none"].map((id) => ({ Get: { TableName, Key: { id } } })) }),
  );
  assert.deepEqual(Responses.map((response) => response.Item?.amount), [5, 195, undefined]);
  const seen = await eventually("the records", async () => {
    const all = await records(streams, LatestStreamArn);
    return all.length >= 22 && all;
  });
  counts.records += seen.length;
  assert.equal(seen.length, 22);
  for (const [id, step] of [["a", -1], ["b", 1]]) {
    const of = seen.filter((record) => record.dynamodb.Keys.id.S === id);
    let last;
    for (const { dynamodb } of of) {
      if (last !== undefined) assert.equal(dynamodb.OldImage.amount.N, last, "each change follows the one before");
      last = dynamodb.NewImage.amount.N;
    }
    assert.equal(Number(last), step < 0 ? 5 : 195);
  }
});

test("legacy parameters, as old clients send them", async () => {
  const TableName = "leases";
  await table(TableName, { AttributeDefinitions: [attribute("leaseKey", "S")], KeySchema: keys("leaseKey") });
  const Key = { leaseKey: "shard-1" };
  await documents.send(new PutCommand({ TableName, Item: { ...Key, leaseCounter: 1 }, Expected: { leaseKey: { Exists: false } } }));
  const renew = (from) =>
    new UpdateItemCommand({
      TableName,
      Key: { leaseKey: { S: "shard-1" } },
      Expected: { leaseCounter: { Value: { N: String(from) } }, leaseOwner: { Exists: false } },
      AttributeUpdates: { leaseCounter: { Action: "PUT", Value: { N: String(from + 1) } } },
      ReturnValues: "ALL_NEW",
      ReturnValuesOnConditionCheckFailure: "ALL_OLD",
    });
  const { Attributes } = await client.send(renew(1));
  assert.equal(Attributes.leaseCounter.N, "2");
  await assert.rejects(client.send(renew(1)), (error) => {
    assert.equal(error.name, "ConditionalCheckFailedException");
    assert.equal(error.Item.leaseCounter.N, "2");
    return true;
  });
  const page = await documents.send(
    new ScanCommand({ TableName, ScanFilter: { leaseCounter: { ComparisonOperator: "GE", AttributeValueList: [2] } }, AttributesToGet: ["leaseCounter"] }),
  );
  assert.deepEqual(page.Items, [{ leaseCounter: 2 }]);
  counts.items += 1;
});

test("items expire, and the stream says who deleted them", async () => {
  const TableName = "sessions";
  const { LatestStreamArn } = await table(TableName, {
    AttributeDefinitions: [attribute("id", "S")],
    KeySchema: keys("id"),
    StreamSpecification: { StreamEnabled: true, StreamViewType: "OLD_IMAGE" },
  });
  await client.send(new UpdateTimeToLiveCommand({ TableName, TimeToLiveSpecification: { Enabled: true, AttributeName: "until" } }));
  await eventually("expiry", async () => {
    const { TimeToLiveDescription } = await client.send(new DescribeTimeToLiveCommand({ TableName }));
    return TimeToLiveDescription.TimeToLiveStatus === "ENABLED";
  });
  const now = Math.floor(Date.now() / 1000);
  await documents.send(new PutCommand({ TableName, Item: { id: "old", until: now - 10 } }));
  await documents.send(new PutCommand({ TableName, Item: { id: "young", until: now + 1000 } }));
  await eventually("the deletion", async () => !(await documents.send(new GetCommand({ TableName, Key: { id: "old" } }))).Item);
  await documents.send(new DeleteCommand({ TableName, Key: { id: "young" } }));
  const removed = (await records(streams, LatestStreamArn)).filter((record) => record.eventName === "REMOVE");
  counts.records += removed.length;
  const by = Object.fromEntries(removed.map((record) => [record.dynamodb.Keys.id.S, record.userIdentity]));
  assert.deepEqual(by, { old: { PrincipalId: "dynamodb.amazonaws.com", Type: "Service" }, young: undefined });
});

test("tags and item collections", async () => {
  const { TableArn } = await orders("tagged");
  await client.send(new TagResourceCommand({ ResourceArn: TableArn, Tags: [{ Key: "team", Value: "blue" }, { Key: "env", Value: "ci" }] }));
  await client.send(new UntagResourceCommand({ ResourceArn: TableArn, TagKeys: ["env"] }));
  const { Tags } = await client.send(new ListTagsOfResourceCommand({ ResourceArn: TableArn }));
  assert.deepEqual(Tags, [{ Key: "team", Value: "blue" }]);
  const written = await documents.send(
    new UpdateCommand({
      TableName: "tagged",
      Key: { customer: "c", order: 1 },
      UpdateExpression: "SET #t = :t",
      ExpressionAttributeNames: { "#t": "total" },
      ExpressionAttributeValues: { ":t": 5 },
      ReturnItemCollectionMetrics: "SIZE",
      ReturnConsumedCapacity: "INDEXES",
    }),
  );
  assert.deepEqual(written.ItemCollectionMetrics, { ItemCollectionKey: { customer: "c" }, SizeEstimateRangeGB: [0, 1] });
  assert.deepEqual(written.ConsumedCapacity.LocalSecondaryIndexes, { "by-total": { CapacityUnits: 1 } });
  assert.equal(written.ConsumedCapacity.GlobalSecondaryIndexes, undefined);
});
