//! Registered consumers: RegisterStreamConsumer, DeregisterStreamConsumer, DescribeStreamConsumer, ListStreamConsumers.

use headwater_api::kinesis as api;
use headwater_api::kinesis::{access, errors};
use headwater_api::{Call, Error, Instant};
use headwater_catalog::{ConsumerDefinition, ConsumerState, DataStreamDefinition};
use headwater_log::{Change, IteratorError, ReadFrom};
use headwater_types::{Millis, ShardUid};

use super::stream::edit;
use super::{error, name, tags};
use crate::service::Operations;

/// Of one stream. Source: "Quotas and limits", Kinesis developer guide.
const CONSUMERS_MAX: usize = 20;
/// CREATING at a time, in one stream. Source: "RegisterStreamConsumer", Kinesis API reference.
const CREATING_MAX: usize = 5;
/// Consumers of a page of ListStreamConsumers. Source: "ListStreamConsumers", Kinesis API reference.
const PAGE: i32 = 100;
/// Unit: ms of store time. Source: as above.
const TOKEN_LIFE_MS: i64 = 300_000;

fn status(state: ConsumerState) -> api::ConsumerStatus {
    match state {
        ConsumerState::Creating => api::ConsumerStatus::Creating,
        ConsumerState::Active => api::ConsumerStatus::Active,
        ConsumerState::Deleting => api::ConsumerStatus::Deleting,
    }
}

fn render(stream: &DataStreamDefinition, consumer: &ConsumerDefinition) -> api::Consumer {
    api::Consumer {
        consumer_name: consumer.name.clone(),
        consumer_arn: stream.consumer_arn(consumer),
        consumer_status: status(consumer.state),
        consumer_creation_timestamp: consumer.created.into(),
    }
}

/// RegisterStreamConsumer: CREATING, and ACTIVE a moment later.
pub(super) async fn register(
    service: &Operations,
    call: &Call,
    input: api::RegisterStreamConsumerInput,
) -> Result<api::RegisterStreamConsumerOutput, Error> {
    let named = name::stream(call, None, Some(&input.stream_arn))?;
    let wanted = tags::checked(input.tags.clone().unwrap_or_default())?;
    call.authorize(&access::register_stream_consumer(call, &input))?;
    let mut registered = None;
    edit(service, call, &named, |stream, now| {
        if !stream.state.serves() {
            name::active(call, stream)?;
        }
        room(call, stream, &input.consumer_name)?;
        let consumer = ConsumerDefinition {
            name: input.consumer_name.clone(),
            created: now,
            state: ConsumerState::Creating,
            tags: wanted.clone(),
        };
        registered = Some(render(stream, &consumer));
        let mut changed = stream.clone();
        changed.consumers.push(consumer);
        Ok(Some(Change::RecordDataStream { stream: Box::new(changed) }))
    })
    .await?;
    let consumer = registered.ok_or_else(|| Error::internal("a consumer that was registered is not known"))?;
    Ok(api::RegisterStreamConsumerOutput { consumer })
}

/// Texts unverified; moto's for the name that is taken.
fn room(call: &Call, stream: &DataStreamDefinition, wanted: &str) -> Result<(), Error> {
    let account = &call.principal.account;
    if stream.consumer(wanted).is_some() {
        return Err(errors::resource_in_use(format!(
            "Consumer {wanted} under stream {} already exists for account {account}.",
            stream.name
        )));
    }
    let creating = stream.consumers.iter().filter(|consumer| consumer.state == ConsumerState::Creating).count();
    if creating >= CREATING_MAX {
        return Err(errors::limit_exceeded(format!(
            "Stream {} under account {account} has {creating} consumers in CREATING state; at most {CREATING_MAX} may be.",
            stream.name
        )));
    }
    if stream.consumers.len() >= CONSUMERS_MAX {
        return Err(errors::limit_exceeded(format!(
            "Stream {} under account {account} has {} registered consumers; at most {CONSUMERS_MAX} may be.",
            stream.name,
            stream.consumers.len()
        )));
    }
    Ok(())
}

/// DeregisterStreamConsumer: DELETING, and gone a moment later.
pub(super) async fn deregister(
    service: &Operations,
    call: &Call,
    input: api::DeregisterStreamConsumerInput,
) -> Result<api::DeregisterStreamConsumerOutput, Error> {
    call.authorize(&access::deregister_stream_consumer(call, &input))?;
    let (arn, of, given) = (&input.consumer_arn, &input.stream_arn, &input.consumer_name);
    let (stream, consumer) = name::consumer(service, call, arn.as_deref(), of.as_deref(), given.as_deref())?;
    edit(service, call, &stream.name, |stream, _| {
        let mut changed = stream.clone();
        let same = |other: &&mut ConsumerDefinition| other.name == consumer.name && other.created == consumer.created;
        let found = changed.consumers.iter_mut().find(same).ok_or_else(|| error::no_consumer(call, &consumer.name))?;
        found.state = ConsumerState::Deleting;
        Ok(Some(Change::RecordDataStream { stream: Box::new(changed) }))
    })
    .await?;
    Ok(api::DeregisterStreamConsumerOutput {})
}

/// DescribeStreamConsumer.
pub(super) async fn describe(
    service: &Operations,
    call: &Call,
    input: api::DescribeStreamConsumerInput,
) -> Result<api::DescribeStreamConsumerOutput, Error> {
    call.authorize(&access::describe_stream_consumer(call, &input))?;
    let (arn, of, given) = (&input.consumer_arn, &input.stream_arn, &input.consumer_name);
    let (stream, consumer) = name::consumer(service, call, arn.as_deref(), of.as_deref(), given.as_deref())?;
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

/// ListStreamConsumers, in the order they were registered.
pub(super) async fn list(
    service: &Operations,
    call: &Call,
    input: api::ListStreamConsumersInput,
) -> Result<api::ListStreamConsumersOutput, Error> {
    let named = name::stream(call, None, Some(&input.stream_arn))?;
    call.authorize(&access::list_stream_consumers(call, &input))?;
    let stream = name::find(service, call, &named)?;
    if let Some(Instant(created)) = input.stream_creation_timestamp
        && created.div_euclid(1_000) != stream.created.0.div_euclid(1_000)
    {
        return Err(error::no_stream(call, &named));
    }
    let after = match &input.next_token {
        Some(token) => Some(after(service, &stream, token)?),
        None => None,
    };
    let most = usize::try_from(input.max_results.unwrap_or(PAGE)).unwrap_or_default();
    let place = |consumer: &ConsumerDefinition| (consumer.created, consumer.name.clone());
    let mut following = stream.consumers.iter().filter(|each| after.as_ref().is_none_or(|after| place(each) > *after));
    let page: Vec<&ConsumerDefinition> = following.by_ref().take(most).collect();
    let more = following.next().is_some();
    let next_token = page.last().filter(|_| more).map(|last| {
        let position = service.log.iterator(stream.uid, ShardUid(0), ReadFrom::Horizon, TOKEN_LIFE_MS);
        service.log.seal(&position, &format!("consumers|{}|{}|", last.created.0, last.name))
    });
    let consumers = page.into_iter().map(|consumer| render(&stream, consumer)).collect();
    Ok(api::ListStreamConsumersOutput { consumers: Some(consumers), next_token })
}

/// The consumer after which a listing goes on.
fn after(service: &Operations, stream: &DataStreamDefinition, token: &str) -> Result<(Millis, String), Error> {
    let invalid = || errors::invalid_argument("Invalid NextToken.");
    let position = service.log.unseal(token).map_err(|cause| match cause {
        IteratorError::Expired { .. } => errors::expired_next_token("NextToken has expired."),
        IteratorError::Invalid | IteratorError::Foreign => invalid(),
    })?;
    let parts: Vec<&str> = token.split('|').collect();
    let ["consumers", created, name, _] = parts.as_slice() else { return Err(invalid()) };
    let created = created.parse().map_err(|_| invalid())?;
    if position.stream == stream.uid { Ok((Millis(created), (*name).to_owned())) } else { Err(invalid()) }
}
