//! Registered consumers: RegisterStreamConsumer, DeregisterStreamConsumer, DescribeStreamConsumer, ListStreamConsumers.

use headwater_api::kinesis as api;
use headwater_api::kinesis::{access, errors};
use headwater_api::{Call, Error, Instant};
use headwater_catalog::{ConsumerDefinition, ConsumerState, DataStreamDefinition};
use headwater_log::{IteratorError, ReadFrom};
use headwater_types::ShardUid;

use super::stream::record;
use super::{error, name, policy, tags};
use crate::service::Operations;

/// Of one stream. Source: "RegisterStreamConsumer", Kinesis API reference.
const CONSUMERS_MAX: usize = 20;
/// Of one stream, in state CREATING. Source: as above.
const CREATING_MAX: usize = 5;
/// Consumers of a page unless fewer are asked for. Source: "ListStreamConsumers", Kinesis API reference.
const PAGE: i32 = 100;
/// Unit: ms of store time. Source: as above.
const TOKEN_LIFE_MS: i64 = 300_000;

/// RegisterStreamConsumer. The answer has the state that the consumer begins with.
pub(super) async fn register(
    service: &Operations,
    call: &Call,
    input: api::RegisterStreamConsumerInput,
) -> Result<api::RegisterStreamConsumerOutput, Error> {
    let named = name::stream(call, None, Some(&input.stream_arn))?;
    let tags = tags::checked(input.tags.clone().unwrap_or_default())?;
    call.authorize(&access::register_stream_consumer(call, &input))?;
    let mut made = None;
    record(service, call, &named, |stream, now| {
        if !stream.state.serves() {
            name::active(call, stream)?;
        }
        room_for(call, stream, &input.consumer_name)?;
        let consumer = ConsumerDefinition {
            name: input.consumer_name.clone(),
            created: now,
            state: ConsumerState::Creating,
            tags: tags.clone(),
        };
        made = Some(render(stream, &consumer));
        stream.consumers.push(consumer);
        Ok(())
    })
    .await?;
    let consumer = made.ok_or_else(|| Error::internal("a consumer was registered without a decision"))?;
    Ok(api::RegisterStreamConsumerOutput { consumer })
}

/// Errors: ResourceInUseException for a name that is taken, LimitExceededException (texts unverified).
fn room_for(call: &Call, stream: &DataStreamDefinition, wanted: &str) -> Result<(), Error> {
    let account = &call.principal.account;
    if stream.consumer(wanted).is_some() {
        return Err(errors::resource_in_use(format!(
            "Consumer {wanted} under stream {} already exists for account {account}.",
            stream.name
        )));
    }
    if stream.consumers.len() >= CONSUMERS_MAX {
        return Err(errors::limit_exceeded(format!(
            "Stream {} under account {account} has reached its limit of {CONSUMERS_MAX} registered consumers.",
            stream.name
        )));
    }
    let creating = stream.consumers.iter().filter(|consumer| consumer.state == ConsumerState::Creating).count();
    if creating >= CREATING_MAX {
        return Err(errors::limit_exceeded(format!(
            "Stream {} under account {account} has {CREATING_MAX} consumers in state CREATING already.",
            stream.name
        )));
    }
    Ok(())
}

/// DeregisterStreamConsumer.
pub(super) async fn deregister(
    service: &Operations,
    call: &Call,
    input: api::DeregisterStreamConsumerInput,
) -> Result<api::DeregisterStreamConsumerOutput, Error> {
    call.authorize(&access::deregister_stream_consumer(call, &input))?;
    let (arn, stream_arn, named) = (input.consumer_arn, input.stream_arn, input.consumer_name);
    let (stream, consumer) = name::consumer(service, call, arn.as_deref(), stream_arn.as_deref(), named.as_deref())?;
    record(service, call, &stream.name, |stream, _| {
        let same = |known: &ConsumerDefinition| known.name == consumer.name && known.created == consumer.created;
        match stream.consumers.iter().find(|known| same(known)) {
            None => return Err(error::no_consumer(call, &consumer.name)),
            Some(known) if known.state != ConsumerState::Active => return Err(not_active(call, stream, known)),
            Some(_) => {}
        }
        for known in stream.consumers.iter_mut().filter(|known| same(known)) {
            known.state = ConsumerState::Deleting;
        }
        let arn = stream.consumer_arn(&consumer);
        policy::forget(stream, &arn);
        Ok(())
    })
    .await?;
    Ok(api::DeregisterStreamConsumerOutput {})
}

/// A consumer that is being made or goes away.
///
/// Source: observed on the service (cloudformation-coverage-roadmap issue 2442, for a policy of a consumer).
pub(super) fn not_active(call: &Call, stream: &DataStreamDefinition, consumer: &ConsumerDefinition) -> Error {
    errors::resource_in_use(format!(
        "Consumer {} with creation timestamp {} under stream {} and account {} is not in ACTIVE status.",
        consumer.name,
        consumer.created.0.div_euclid(1_000),
        stream.name,
        call.principal.account
    ))
}

/// DescribeStreamConsumer.
pub(super) async fn describe(
    service: &Operations,
    call: &Call,
    input: api::DescribeStreamConsumerInput,
) -> Result<api::DescribeStreamConsumerOutput, Error> {
    call.authorize(&access::describe_stream_consumer(call, &input))?;
    let (arn, stream_arn, named) = (input.consumer_arn, input.stream_arn, input.consumer_name);
    let (stream, consumer) = name::consumer(service, call, arn.as_deref(), stream_arn.as_deref(), named.as_deref())?;
    let shown = render(&stream, &consumer);
    Ok(api::DescribeStreamConsumerOutput {
        consumer_description: api::ConsumerDescription {
            consumer_name: shown.consumer_name,
            consumer_arn: shown.consumer_arn,
            consumer_status: shown.consumer_status,
            consumer_creation_timestamp: shown.consumer_creation_timestamp,
            stream_arn: stream.arn(),
        },
    })
}

/// ListStreamConsumers.
///
/// Order: by name, so that a page goes on where the last one ended, whoever came and went meanwhile.
pub(super) async fn list(
    service: &Operations,
    call: &Call,
    input: api::ListStreamConsumersInput,
) -> Result<api::ListStreamConsumersOutput, Error> {
    let named = name::stream(call, None, Some(&input.stream_arn))?;
    call.authorize(&access::list_stream_consumers(call, &input))?;
    let stream = name::find(service, call, &named)?;
    let after = match &input.next_token {
        Some(_) if input.stream_creation_timestamp.is_some() => {
            let text = "NextToken and StreamCreationTimestamp cannot be provided together.";
            return Err(errors::invalid_argument(text));
        }
        Some(token) => Some(from_token(service, &stream, token)?),
        None => None,
    };
    if let Some(Instant(created)) = input.stream_creation_timestamp
        && created.div_euclid(1_000) != stream.created.0.div_euclid(1_000)
    {
        return Err(error::no_stream(call, &named));
    }
    let mut consumers: Vec<&ConsumerDefinition> = stream.consumers.iter().collect();
    consumers.retain(|consumer| after.as_ref().is_none_or(|after| consumer.name > *after));
    consumers.sort_by(|a, b| a.name.cmp(&b.name));
    let most = usize::try_from(input.max_results.unwrap_or(PAGE)).unwrap_or_default();
    let more = consumers.len() > most;
    consumers.truncate(most);
    let next_token = consumers.last().filter(|_| more).map(|last| {
        let position = service.log.iterator(stream.uid, ShardUid(0), ReadFrom::Horizon, TOKEN_LIFE_MS);
        service.log.seal(&position, &format!("consumers|{}|", last.name))
    });
    let consumers = consumers.into_iter().map(|consumer| render(&stream, consumer)).collect();
    Ok(api::ListStreamConsumersOutput { consumers: Some(consumers), next_token })
}

/// The name after which a listing goes on. Texts unverified.
fn from_token(service: &Operations, stream: &DataStreamDefinition, token: &str) -> Result<String, Error> {
    let invalid = || errors::invalid_argument("Invalid NextToken.");
    let position = service.log.unseal(token).map_err(|cause| match cause {
        IteratorError::Expired { .. } => errors::expired_next_token("NextToken has expired."),
        IteratorError::Invalid | IteratorError::Foreign => invalid(),
    })?;
    let parts: Vec<&str> = token.split('|').collect();
    match parts.as_slice() {
        ["consumers", last, _] if position.stream == stream.uid => Ok((*last).to_owned()),
        _ => Err(invalid()),
    }
}

fn render(stream: &DataStreamDefinition, consumer: &ConsumerDefinition) -> api::Consumer {
    api::Consumer {
        consumer_name: consumer.name.clone(),
        consumer_arn: stream.consumer_arn(consumer),
        consumer_status: match consumer.state {
            ConsumerState::Creating => api::ConsumerStatus::Creating,
            ConsumerState::Active => api::ConsumerStatus::Active,
            ConsumerState::Deleting => api::ConsumerStatus::Deleting,
        },
        consumer_creation_timestamp: consumer.created.into(),
    }
}
