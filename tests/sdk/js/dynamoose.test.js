// dynamoose, unmodified, at its ordinary work: it makes its tables with their indexes and expiry itself.

import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import dynamoose from "dynamoose";
import { Server } from "./server.js";

let server, client, Person;
let saved = 0;

before(async () => {
  server = await Server.start();
  client = new dynamoose.aws.ddb.DynamoDB(server.settings());
  dynamoose.aws.ddb.set(client);
  const schema = new dynamoose.Schema(
    {
      id: { type: String, hashKey: true },
      day: { type: Number, rangeKey: true },
      city: { type: String, index: { name: "city-index", rangeKey: "day", project: true } },
      name: String,
      tags: { type: Set, schema: [String] },
      address: { type: Object, schema: { street: String, number: Number } },
    },
    { saveUnknown: false },
  );
  Person = dynamoose.model("Person", schema);
  const table = new dynamoose.Table("People", [Person], {
    initialize: false,
    throughput: "ON_DEMAND",
    expires: { ttl: 3600, attribute: "expires" },
    waitForActive: { enabled: true, check: { timeout: 20000, frequency: 50 } },
  });
  await table.initialize();
});

after(async () => {
  client.destroy();
  await server.stop();
  console.log(`dynamoose: ${saved} items saved`);
  assert.ok(saved > 0);
});

test("models are saved, found by key and index, updated and deleted", async () => {
  for (let day = 0; day < 12; day += 1) {
    const person = { id: `p${day % 3}`, day, city: day % 2 ? "Oslo" : "Bern", name: `n${day}`, tags: new Set(["a", `t${day}`]), address: { street: "x", number: day } };
    await Person.create(person);
    saved += 1;
  }
  await assert.rejects(Person.create({ id: "p0", day: 0, city: "Rom" }), { name: "ConditionalCheckFailedException" });
  const one = await Person.get({ id: "p1", day: 4 });
  assert.deepEqual([one.name, [...one.tags].sort(), one.address.number], ["n4", ["a", "t4"], 4]);
  const oslo = await Person.query("city").eq("Oslo").where("day").gt(4).using("city-index").sort("descending").exec();
  assert.deepEqual(oslo.map((person) => person.day), [11, 9, 7, 5]);
  const mine = await Person.query("id").eq("p2").filter("name").contains("1").exec();
  assert.deepEqual(mine.map((person) => person.day), [11]);
  await Person.update({ id: "p1", day: 4 }, { $SET: { name: "new" }, $REMOVE: ["city"], $ADD: { "tags": new Set(["z"]) } });
  assert.equal((await Person.query("city").eq("Bern").exec()).count, 5);
  await Person.delete({ id: "p1", day: 4 });
  const left = await Person.scan().all().exec();
  assert.equal(left.count, 11);
  assert.ok(left.every((person) => person.expires === undefined || person.expires instanceof Date));
});

test("batches and transactions", async () => {
  const people = Array.from({ length: 30 }, (_, day) => ({ id: "batch", day, city: "Rom", name: `b${day}` }));
  for (let from = 0; from < people.length; from += 25) await Person.batchPut(people.slice(from, from + 25));
  saved += people.length;
  const some = await Person.batchGet([{ id: "batch", day: 1 }, { id: "batch", day: 29 }, { id: "batch", day: 99 }]);
  assert.equal(some.length, 2);
  await dynamoose.transaction([
    Person.transaction.update({ id: "batch", day: 1 }, { name: "changed" }),
    Person.transaction.delete({ id: "batch", day: 2 }),
    Person.transaction.create({ id: "batch", day: 100, name: "made" }),
  ]);
  await assert.rejects(
    dynamoose.transaction([
      Person.transaction.create({ id: "batch", day: 100, name: "again" }),
      Person.transaction.delete({ id: "batch", day: 3 }),
    ]),
    { name: "TransactionCanceledException" },
  );
  const left = await Person.query("id").eq("batch").count().exec();
  assert.equal(left.count, 30);
});
