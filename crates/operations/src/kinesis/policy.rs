//! Resource policies of streams and consumers: kept and shown, not enforced.
//!
//! Source: LocalStack's AWS snapshots: what GetResourcePolicy answers without a policy; that deleting a policy that is not
//! there, and putting one on a stream that is not there, are refused. The texts are unverified.

use headwater_api::kinesis as api;
use headwater_api::kinesis::{access, errors};
use headwater_api::{Call, Error};
use headwater_catalog::{ConsumerState, DataStreamDefinition};
use headwater_log::Change;
use serde_json::{Map, Value};

use super::stream::edit;
use super::{consumers, error, name};
use crate::dynamodb::policy::unenforced;
use crate::service::Operations;

/// Member of `DataStreamDefinition::recorded`: policies as texts, by the ARN of the stream or of the consumer.
const POLICIES: &str = "ResourcePolicies";
/// What stands for no policy.
const NONE: &str = "{}";

/// PutResourcePolicy.
pub(super) async fn put(
    service: &Operations,
    call: &Call,
    input: api::PutResourcePolicyInput,
) -> Result<api::PutResourcePolicyOutput, Error> {
    checked(&input.policy)?;
    call.authorize(&access::put_resource_policy(call, &input))?;
    unenforced(service)?;
    let named = stream_of(service, call, &input.resource_arn)?;
    edit(service, call, &named, |stream, _| {
        usable(call, stream, &input.resource_arn)?;
        let mut changed = stream.clone();
        let known = changed.recorded.entry(POLICIES.to_owned()).or_insert_with(|| Value::Object(Map::new()));
        if let Value::Object(known) = known {
            known.insert(input.resource_arn.clone(), Value::String(input.policy.clone()));
        }
        Ok((changed != *stream).then(|| Change::RecordDataStream { stream: Box::new(changed) }))
    })
    .await?;
    Ok(api::PutResourcePolicyOutput {})
}

/// GetResourcePolicy: without a policy an empty one.
pub(super) async fn get(
    service: &Operations,
    call: &Call,
    input: api::GetResourcePolicyInput,
) -> Result<api::GetResourcePolicyOutput, Error> {
    call.authorize(&access::get_resource_policy(call, &input))?;
    let named = stream_of(service, call, &input.resource_arn)?;
    let stream = name::find(service, call, &named)?;
    let policy = stream.recorded.get(POLICIES).and_then(|known| known.get(&input.resource_arn)?.as_str());
    Ok(api::GetResourcePolicyOutput { policy: policy.unwrap_or(NONE).to_owned() })
}

/// DeleteResourcePolicy.
pub(super) async fn delete(
    service: &Operations,
    call: &Call,
    input: api::DeleteResourcePolicyInput,
) -> Result<api::DeleteResourcePolicyOutput, Error> {
    call.authorize(&access::delete_resource_policy(call, &input))?;
    let named = stream_of(service, call, &input.resource_arn)?;
    edit(service, call, &named, |stream, _| {
        let mut changed = stream.clone();
        if !forget(&mut changed, &input.resource_arn) {
            let arn = &input.resource_arn;
            return Err(errors::resource_not_found(format!("Resource policy for {arn} not found.")));
        }
        Ok(Some(Change::RecordDataStream { stream: Box::new(changed) }))
    })
    .await?;
    Ok(api::DeleteResourcePolicyOutput {})
}

/// Takes away the policy of a stream or a consumer; false when it has none.
pub(super) fn forget(stream: &mut DataStreamDefinition, arn: &str) -> bool {
    let Some(Value::Object(known)) = stream.recorded.get_mut(POLICIES) else { return false };
    let had = known.remove(arn).is_some();
    if known.is_empty() {
        stream.recorded.remove(POLICIES);
    }
    had
}

/// The stream that an ARN names, or whose consumer it names; a consumer must be there.
fn stream_of(service: &Operations, call: &Call, arn: &str) -> Result<String, Error> {
    if !arn.contains("/consumer/") {
        return name::stream(call, None, Some(arn));
    }
    let (stream, _) = name::consumer(service, call, Some(arn), None, None)?;
    Ok(stream.name.clone())
}

/// Refuses a consumer in a short state. Source: observed on the service (cloudformation-coverage-roadmap issue 2442).
fn usable(call: &Call, stream: &DataStreamDefinition, arn: &str) -> Result<(), Error> {
    if stream.arn() == arn {
        return name::active(call, stream);
    }
    let consumer = stream.consumers.iter().find(|consumer| stream.consumer_arn(consumer) == arn);
    match consumer {
        Some(consumer) if consumer.state == ConsumerState::Active => Ok(()),
        Some(consumer) => Err(consumers::not_active(call, stream, consumer)),
        None => Err(error::no_consumer(call, arn)),
    }
}

/// A policy is a JSON object with statements.
fn checked(policy: &str) -> Result<(), Error> {
    let document: Option<Value> = serde_json::from_str(policy).ok();
    let statements = document.as_ref().and_then(|document| document.get("Statement"));
    if statements.is_some_and(|statements| statements.is_object() || statements.is_array()) {
        return Ok(());
    }
    Err(errors::invalid_argument("The policy is malformed: it must be a JSON object with a Statement."))
}
