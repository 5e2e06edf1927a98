// ElectroDB, unmodified: several entities in one table, their access patterns on its indexes.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { CreateTableCommand, waitUntilTableExists } from "@aws-sdk/client-dynamodb";
import { DynamoDBDocumentClient } from "@aws-sdk/lib-dynamodb";
import { Entity, Service } from "electrodb";
import { Server } from "./server.js";

const table = "single";
let server, client, tasks, office;
let written = 0;

before(async () => {
  server = await Server.start();
  const plain = server.client();
  const string = (AttributeName) => ({ AttributeName, AttributeType: "S" });
  const keys = (hash, range) => [{ AttributeName: hash, KeyType: "HASH" }, { AttributeName: range, KeyType: "RANGE" }];
  await plain.send(
    new CreateTableCommand({
      TableName: table,
      BillingMode: "PAY_PER_REQUEST",
      AttributeDefinitions: ["pk", "sk", "gsi1pk", "gsi1sk"].map(string),
      KeySchema: keys("pk", "sk"),
      GlobalSecondaryIndexes: [{ IndexName: "gsi1", KeySchema: keys("gsi1pk", "gsi1sk"), Projection: { ProjectionType: "ALL" } }],
    }),
  );
  await waitUntilTableExists({ client: plain, maxWaitTime: 20, minDelay: 0.1, maxDelay: 0.2 }, { TableName: table });
  client = DynamoDBDocumentClient.from(plain);
  const employee = new Entity(
    {
      model: { entity: "employee", version: "1", service: "office" },
      attributes: {
        employee: { type: "string" },
        team: { type: "string", required: true },
        salary: { type: "number", required: true },
        skills: { type: "set", items: "string" },
      },
      indexes: {
        employee: { pk: { field: "pk", composite: ["employee"] }, sk: { field: "sk", composite: [] } },
        team: { index: "gsi1", collection: "workload", pk: { field: "gsi1pk", composite: ["team"] }, sk: { field: "gsi1sk", composite: ["employee"] } },
      },
    },
    { client, table },
  );
  const task = new Entity(
    {
      model: { entity: "task", version: "1", service: "office" },
      attributes: {
        employee: { type: "string" },
        task: { type: "string" },
        team: { type: "string", required: true },
        points: { type: "number", default: 1 },
        status: { type: ["open", "closed"], default: "open" },
      },
      indexes: {
        task: { pk: { field: "pk", composite: ["employee"] }, sk: { field: "sk", composite: ["task"] } },
        team: { index: "gsi1", collection: "workload", pk: { field: "gsi1pk", composite: ["team"] }, sk: { field: "gsi1sk", composite: ["task"] } },
      },
    },
    { client, table },
  );
  office = new Service({ employee, task });
  tasks = task;
});

after(async () => {
  client.destroy();
  await server.stop();
  console.log(`electrodb: ${written} items written`);
  assert.ok(written > 0);
});

test("entities share a table and an index", async () => {
  for (const [name, team] of [["ann", "blue"], ["bob", "blue"], ["cid", "red"]]) {
    await office.entities.employee.create({ employee: name, team, salary: 10, skills: ["a"] }).go();
    for (let number = 0; number < 4; number += 1) {
      await tasks.create({ employee: name, task: `t${number}-${name}`, team, points: number }).go();
      written += 1;
    }
    written += 1;
  }
  await assert.rejects(office.entities.employee.create({ employee: "ann", team: "red", salary: 1 }).go());
  const mine = await tasks.query.task({ employee: "ann" }).where(({ points }, { gte }) => gte(points, 2)).go();
  assert.deepEqual(mine.data.map((task) => task.task), ["t2-ann", "t3-ann"]);
  const load = await office.collections.workload({ team: "blue" }).go();
  assert.deepEqual([load.data.employee.length, load.data.task.length], [2, 8]);
  const paged = await tasks.query.team({ team: "blue" }).begins({ task: "t1" }).go({ limit: 1 });
  assert.equal(paged.data.length, 1);
  const rest = await tasks.query.team({ team: "blue" }).begins({ task: "t1" }).go({ cursor: paged.cursor });
  assert.deepEqual(rest.data.map((task) => task.task), ["t1-bob"]);
});

test("updates move entries, conditions hold, transactions are whole", async () => {
  await office.entities.employee.patch({ employee: "bob" }).set({ team: "red" }).add({ salary: 5, skills: ["b"] }).where(({ salary }, { eq }) => eq(salary, 10)).go();
  const red = await office.entities.employee.query.team({ team: "red" }).go();
  assert.deepEqual(red.data.map((one) => [one.employee, one.salary, one.skills]), [["bob", 15, ["a", "b"]], ["cid", 10, ["a"]]]);
  const done = await office.transaction
    .write(({ employee, task }) => [
      task.patch({ employee: "cid", task: "t0-cid" }).set({ status: "closed" }).commit(),
      task.remove({ employee: "cid", task: "t1-cid" }).commit(),
      employee.check({ employee: "cid" }).where(({ salary }, { gt }) => gt(salary, 5)).commit(),
    ])
    .go();
  assert.equal(done.canceled, false);
  const refused = await office.transaction
    .write(({ employee, task }) => [
      employee.create({ employee: "cid", team: "red", salary: 1 }).commit({ response: "all_old" }),
      task.remove({ employee: "cid", task: "t2-cid" }).commit(),
    ])
    .go();
  assert.equal(refused.canceled, true);
  assert.deepEqual(refused.data.map((one) => one.code), ["ConditionalCheckFailed", "None"]);
  const left = await tasks.query.task({ employee: "cid" }).go();
  assert.deepEqual(left.data.map((task) => [task.task, task.status]), [["t0-cid", "closed"], ["t2-cid", "open"], ["t3-cid", "open"]]);
});
