//! What a call asks to be allowed to do.

use headwater_types::arn::StreamArn;

use crate::api::Api;
use crate::call::{Call, Principal};
use crate::error::Error;

/// One action on one resource, as a policy would name them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Access {
    /// `dynamodb:PutItem`.
    pub action: &'static str,
    /// ARN of the resource, or `*`.
    pub resource_arn: String,
    /// Keys that conditions of a policy may look at.
    pub condition_keys: Vec<(String, String)>,
}

/// Who decides.
pub trait Authorizer: Send + Sync {
    /// Allows all of the accesses or none.
    ///
    /// Errors: AccessDeniedException, naming principal, action and resource.
    fn authorize(&self, principal: &Principal, accesses: &[Access]) -> Result<(), Error>;
}

/// Allows everything.
#[derive(Clone, Copy, Debug, Default)]
pub struct AllowAll;

impl Authorizer for AllowAll {
    fn authorize(&self, _principal: &Principal, _accesses: &[Access]) -> Result<(), Error> {
        Ok(())
    }
}

/// Builds the accesses of one call; operations that learn of more resources (statements, iterators) use it too.
pub struct List<'a> {
    call: &'a Call,
    action: &'static str,
    accesses: Vec<Access>,
    conditions: Vec<(String, String)>,
}

impl<'a> List<'a> {
    /// An empty list for one action.
    pub fn new(call: &'a Call, action: &'static str) -> Self {
        Self { call, action, accesses: Vec::new(), conditions: Vec::new() }
    }

    /// Adds a resource by its ARN. Kinesis knows a table's stream by its name there, whichever of its two ARNs is given: a
    /// policy cannot be walked around by the other one.
    pub fn arn(&mut self, arn: Option<&str>) {
        let Some(arn) = arn else { return };
        let of_table = StreamArn::parse(arn).filter(|_| self.call.api == Api::Kinesis);
        self.push(self.action, of_table.map_or_else(|| arn.to_owned(), |stream| stream.kinesis_arn()));
    }

    /// Adds a table, given by name or by ARN.
    pub fn table(&mut self, table: Option<&str>) {
        self.table_as(self.action, table);
    }

    /// Adds a table under another action, as transactions need it.
    pub fn table_as(&mut self, action: &'static str, table: Option<&str>) {
        if let Some(table) = table {
            self.push(action, self.table_arn(table));
        }
    }

    /// Adds an index of a table, or the table when no index is named.
    pub fn index(&mut self, table: Option<&str>, index: Option<&str>) {
        match (table, index) {
            (Some(table), Some(index)) => self.push(self.action, format!("{}/index/{index}", self.table_arn(table))),
            (table, _) => self.table(table),
        }
    }

    /// Adds all streams of a table.
    pub fn streams_of(&mut self, table: Option<&str>) {
        if let Some(table) = table {
            self.push(self.action, format!("{}/stream/*", self.table_arn(table)));
        }
    }

    /// Adds a Kinesis stream by name.
    pub fn stream(&mut self, name: Option<&str>) {
        if let Some(name) = name {
            self.push(self.action, self.named(Api::Kinesis, "stream", name));
        }
    }

    /// Adds a delivery stream by name.
    pub fn delivery_stream(&mut self, name: Option<&str>) {
        if let Some(name) = name {
            self.push(self.action, self.named(Api::Firehose, "deliverystream", name));
        }
    }

    /// Says which transaction the accesses belong to.
    pub fn enclosing(&mut self, operation: &str) {
        self.condition("dynamodb:EnclosingOperation", Some(operation));
    }

    /// Adds a condition key to every access of the list.
    pub fn condition(&mut self, key: &str, value: Option<&str>) {
        if let Some(value) = value {
            self.conditions.push((key.to_owned(), value.to_owned()));
        }
    }

    /// The accesses; an operation that names no resource asks for `*`.
    pub fn finish(mut self) -> Vec<Access> {
        if self.accesses.is_empty() {
            self.push(self.action, "*".to_owned());
        }
        for access in &mut self.accesses {
            access.condition_keys.clone_from(&self.conditions);
        }
        self.accesses
    }

    fn push(&mut self, action: &'static str, resource_arn: String) {
        let access = Access { action, resource_arn, condition_keys: Vec::new() };
        if !self.accesses.contains(&access) {
            self.accesses.push(access);
        }
    }

    fn table_arn(&self, table: &str) -> String {
        if table.starts_with("arn:") { table.to_owned() } else { self.named(Api::DynamoDb, "table", table) }
    }

    fn named(&self, api: Api, kind: &str, name: &str) -> String {
        let call = self.call;
        ["arn:aws:", api.signing_name(), ":", &call.region, ":", &call.principal.account, ":", kind, "/", name].concat()
    }
}
