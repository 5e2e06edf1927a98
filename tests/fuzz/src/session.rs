//! A worker that walks through cases and sends their requests changed and as they are.

use bytes::Bytes;
use headwater_cases::{Case, Names, expand};
use serde_json::{Value, json};

use crate::bodies::Corpus;
use crate::dice::Dice;
use crate::json::{self, Node};
use crate::server::Client;

/// Tables of one worker.
const SLOTS: usize = 3;
/// Bodies above this are sent only now and then. Unit: bytes.
const USUAL_BYTES_MAX: usize = 100_000;
/// Bodies above this are never sent. Unit: bytes.
const BYTES_MAX: usize = 4_000_000;

/// Bodies of more places are not changed any further: changes multiply.
const PLACES_MAX: usize = 5_000;

/// One worker.
pub struct Session<'c> {
    /// Its connection.
    pub client: Client,
    corpus: &'c Corpus,
    dice: Dice,
    worker: usize,
    names: Names,
}

impl<'c> Session<'c> {
    /// A worker with draws of its own.
    pub fn new(client: Client, corpus: &'c Corpus, seed: u64, worker: usize) -> Self {
        let dice = Dice::new(seed.wrapping_mul(1_000).wrapping_add(worker as u64));
        Self { client, corpus, dice, worker, names: Names::new() }
    }

    /// Walks through some cases; `seed` decides which, and how they are changed.
    pub async fn batch(&mut self, seed: u64, cases: usize) -> Result<(), String> {
        self.dice = Dice::new(seed.wrapping_mul(1_000).wrapping_add(self.worker as u64));
        for _ in 0..cases {
            let case = self.dice.one(&self.corpus.cases.all);
            self.walk(case)
                .await
                .map_err(|why| format!("seed {seed}, worker {}, case {}: {why}", self.worker, case.title()))?;
        }
        Ok(())
    }

    async fn walk(&mut self, case: &Case) -> Result<(), String> {
        let table = format!("fuzz-{}-{}", self.worker, self.dice.below(SLOTS));
        let arn = format!("arn:aws:dynamodb:us-east-1:000000000000:table/{table}");
        let known = [("table", table.as_str()), ("arn", &arn), ("region", "us-east-1"), ("account", "000000000000")];
        self.names = known.into_iter().map(|(name, value)| (name.to_owned(), json!(value))).collect();
        self.names.insert("host".to_owned(), json!("127.0.0.1"));
        let stream = format!("arn:aws:kinesis:us-east-1:000000000000:stream/{table}");
        self.names.insert("kinesis".to_owned(), json!(stream));
        if self.dice.percent(50) {
            self.client.ask("DeleteTable", &json!({ "TableName": table })).await?;
            self.client.settled(&table).await?;
        }
        for fixture in case.text["setup"].as_array().into_iter().flatten() {
            let request = &self.corpus.cases.fixtures[fixture.as_str().unwrap_or_default()];
            let request = expand(request, &self.names);
            if self.dice.percent(10) {
                self.changed("CreateTable", &request).await?;
            }
            self.client.ask("CreateTable", &request).await?;
            self.client.settled(&table).await?;
        }
        for step in case.text["steps"].as_array().into_iter().flatten() {
            self.step(step, &table).await?;
        }
        Ok(())
    }

    async fn step(&mut self, step: &Value, table: &str) -> Result<(), String> {
        let Some(operation) = step["operation"].as_str() else { return Ok(()) };
        let request = expand(&step["request"], &self.names);
        let bytes = request.to_string().len();
        if bytes > BYTES_MAX || (bytes > USUAL_BYTES_MAX && !self.dice.percent(3)) {
            return Ok(());
        }
        for _ in 0..1 + self.dice.below(8) {
            let operation = if self.dice.percent(4) { self.corpus.operation(&mut self.dice) } else { operation };
            self.changed(operation, &request).await?;
        }
        if self.dice.percent(15) {
            return Ok(());
        }
        let (status, answer) = self.client.ask(operation, &request).await?;
        for (name, pointer) in step["save"].as_object().into_iter().flatten() {
            if let Some(value) = answer.pointer(pointer.as_str().unwrap_or_default()) {
                self.names.insert(name.clone(), value.clone());
            }
        }
        if status == 200 && operation.ends_with("Table") && self.dice.percent(70) {
            self.client.settled(table).await?;
        }
        Ok(())
    }

    /// Sends a request after some changes.
    async fn changed(&mut self, operation: &str, request: &Value) -> Result<(), String> {
        let mut body = Node::from(request);
        for _ in 0..[1, 1, 1, 2, 2, 3, 5][self.dice.below(7)] {
            if body.places() > PLACES_MAX {
                break;
            }
            let kind = json::change(&mut self.dice, &mut body, &self.corpus.parts());
            self.client.counts.changes[kind] += 1;
        }
        let mut text = String::new();
        body.write(&mut text);
        for (name, value) in &self.names {
            if let Some(value) = value.as_str() {
                text = text.replace(&format!("${name}"), value);
            }
        }
        let mut bytes = text.into_bytes();
        if self.dice.percent(5) {
            json::damage(&mut self.dice, &mut bytes);
            self.client.counts.changes[json::CHANGES.len() - 1] += 1;
        }
        if bytes.len() <= BYTES_MAX {
            self.client.send(operation, Bytes::from(bytes)).await?;
        }
        Ok(())
    }
}
