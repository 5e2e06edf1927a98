//! ListStreams and DescribeStream.

use std::sync::Arc;

use headwater_api::dynamodb_streams as api;
use headwater_api::dynamodb_streams::access;
use headwater_api::{Call, Error, Instant};
use headwater_catalog::{KeySchema, StreamDefinition, StreamState, StreamView};
use headwater_log::{ShardInfo, sequence};

use super::{error, validation};
use crate::dynamodb::error::refused;
use crate::dynamodb::name;
use crate::service::Operations;

/// Largest page of ListStreams and DescribeStream.
/// Source: "ListStreams" and "DescribeStream", DynamoDB Streams API reference.
const PAGE_MAX: usize = 100;

/// ListStreams.
///
/// Order: by table name, then by creation. The start need not exist any more.
pub(crate) async fn list(
    service: &Operations,
    call: &Call,
    input: api::ListStreamsInput,
) -> Result<api::ListStreamsOutput, Error> {
    let limit = validation::limit(input.limit, PAGE_MAX)?;
    let start = input.exclusive_start_stream_arn.as_deref().map(validation::stream_arn).transpose()?;
    call.authorize(&access::list_streams(call, &input))?;
    let catalog = service.log.catalog().map_err(refused)?;
    let after = start.as_ref().map(|arn| (arn.table.table.as_str(), arn.label.as_str()));
    let scope = name::scope(call);
    let mut streams = catalog.streams(&scope, input.table_name.as_deref(), after);
    let page: Vec<api::Stream> = streams.by_ref().take(limit).map(|stream| entry(stream)).collect();
    let more = streams.next().is_some();
    let last = page.last().filter(|_| more).and_then(|stream| stream.stream_arn.clone());
    Ok(api::ListStreamsOutput { streams: Some(page), last_evaluated_stream_arn: last })
}

/// DescribeStream.
///
/// Order: shards by id, oldest first; one answer is one snapshot of the lineage.
pub(crate) async fn describe(
    service: &Operations,
    call: &Call,
    mut input: api::DescribeStreamInput,
) -> Result<api::DescribeStreamOutput, Error> {
    let limit = validation::limit(input.limit, PAGE_MAX)?;
    let arn = validation::stream_arn(&input.stream_arn)?;
    let parent = validation::filter(input.shard_filter.take())?;
    call.authorize(&access::describe_stream(call, &input))?;
    let stream = stream(service, call, &arn, &input.stream_arn)?;
    if let Some(limits) = &service.limits {
        limits.describe(stream.uid)?;
    }
    let list = service.log.shards(stream.uid).map_err(refused)?;
    let start = input.exclusive_start_shard_id.as_deref();
    let chosen: Vec<&ShardInfo> = match &parent {
        None => list.after(start).iter().collect(),
        // Children are there from the moment their parent is closed; an open shard has none.
        Some(parent) => {
            list.children(parent).into_iter().filter(|s| start.is_none_or(|start| *s.id > *start)).collect()
        }
    };
    let page: Vec<api::Shard> = chosen.iter().take(limit).map(|shard| render(shard)).collect();
    let last = page.last().filter(|_| chosen.len() > limit).and_then(|shard| shard.shard_id.clone());
    let description = api::StreamDescription {
        stream_arn: Some(input.stream_arn),
        stream_label: Some(stream.label.clone()),
        stream_status: Some(status(stream.state)),
        stream_view_type: Some(view(stream.view)),
        creation_request_date_time: Some(Instant::from(stream.created)),
        table_name: Some(stream.table_name.clone()),
        key_schema: Some(key_schema(&stream.key_schema)),
        shards: Some(page),
        last_evaluated_shard_id: last,
    };
    Ok(api::DescribeStreamOutput { stream_description: Some(description) })
}

/// The caller's stream of that ARN.
///
/// Errors: ResourceNotFoundException, also for a stream of another account or Region.
pub(super) fn stream(
    service: &Operations,
    call: &Call,
    arn: &headwater_types::arn::StreamArn,
    given: &str,
) -> Result<Arc<StreamDefinition>, Error> {
    let catalog = service.log.catalog().map_err(refused)?;
    let own = arn.table.scope == name::scope(call);
    catalog.stream_by_arn(arn).filter(|_| own).cloned().ok_or_else(|| error::no_stream(given))
}

/// What a stream's records show, as clients see it.
pub(super) fn view(view: StreamView) -> api::StreamViewType {
    match view {
        StreamView::KeysOnly => api::StreamViewType::KeysOnly,
        StreamView::NewImage => api::StreamViewType::NewImage,
        StreamView::OldImage => api::StreamViewType::OldImage,
        StreamView::NewAndOldImages => api::StreamViewType::NewAndOldImages,
    }
}

fn entry(stream: &StreamDefinition) -> api::Stream {
    api::Stream {
        stream_arn: Some(stream.arn().to_string()),
        table_name: Some(stream.table_name.clone()),
        stream_label: Some(stream.label.clone()),
    }
}

fn render(shard: &ShardInfo) -> api::Shard {
    api::Shard {
        shard_id: Some(shard.id.clone()),
        sequence_number_range: Some(api::SequenceNumberRange {
            starting_sequence_number: Some(sequence::render(shard.starting)),
            ending_sequence_number: shard.ending.map(sequence::render),
        }),
        // A table's shards are never merged: there is one parent at most.
        parent_shard_id: shard.parent_ids.first().cloned(),
    }
}

fn status(state: StreamState) -> api::StreamStatus {
    match state {
        StreamState::Enabling => api::StreamStatus::Enabling,
        StreamState::Enabled => api::StreamStatus::Enabled,
        StreamState::Disabling => api::StreamStatus::Disabling,
        StreamState::Disabled => api::StreamStatus::Disabled,
    }
}

fn key_schema(schema: &KeySchema) -> Vec<api::KeySchemaElement> {
    let element = |name: &str, key_type| api::KeySchemaElement { attribute_name: name.to_owned(), key_type };
    let hash = element(&schema.hash.name, api::KeyType::Hash);
    std::iter::once(hash).chain(schema.range.iter().map(|range| element(&range.name, api::KeyType::Range))).collect()
}
