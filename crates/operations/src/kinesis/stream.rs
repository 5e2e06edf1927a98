//! Streams: made, deleted, listed, described; limits of the account.

use headwater_api::kinesis as api;
use headwater_api::kinesis::{access, errors};
use headwater_api::{Call, Error};
use headwater_catalog::{DataStreamDefinition, DataStreamState, Snapshot, StreamMode};
use headwater_log::{Change, Defined, Definition, ShardList};
use headwater_types::{Millis, Scope};

use super::shards::After;
use super::table_stream::{self, Stream};
use super::{error, name, settings, shards, tags};
use crate::dynamodb::error::refused;
use crate::service::Operations;

/// Shards of a new on-demand stream. Source: observed by LocalStack's AWS tests.
const ON_DEMAND_SHARDS: usize = 4;
/// On-demand streams of an account. Source: "DescribeLimits", Kinesis API reference.
const ON_DEMAND_STREAMS_MAX: i32 = 50;
/// Names of a page of ListStreams, shards of a page of DescribeStream. Source: Kinesis API reference.
const PAGE: i32 = 100;

/// How many open shards an account may have in a Region. Source: "Quotas and limits", Kinesis developer guide.
pub(super) fn shard_limit(call: &Call) -> usize {
    if ["us-east-1", "us-west-2", "eu-west-1"].contains(&&*call.region) { 20_000 } else { 6_000 }
}

/// Open shards of the caller's streams of a mode.
pub(super) fn open_shards(service: &Operations, call: &Call, mode: StreamMode) -> Result<usize, Error> {
    let catalog = service.log.catalog().map_err(refused)?;
    let mut open = 0;
    for stream in catalog.data_streams(&name::scope(call), None).filter(|stream| stream.mode == mode) {
        open += open_of(service, stream)?;
    }
    Ok(open)
}

/// Open shards of a stream.
pub(super) fn open_of(service: &Operations, stream: &DataStreamDefinition) -> Result<usize, Error> {
    Ok(open(&service.log.shards(stream.uid).map_err(refused)?))
}

fn open(list: &ShardList) -> usize {
    list.shards().iter().filter(|shard| shard.ending.is_none()).count()
}

/// Refuses what would take the account over its shards. Source: the text observed by kinesalite's tests.
pub(super) fn within_limit(service: &Operations, call: &Call, more: usize) -> Result<(), Error> {
    let (open, limit) = (open_shards(service, call, StreamMode::Provisioned)?, shard_limit(call));
    if open + more <= limit {
        return Ok(());
    }
    Err(errors::limit_exceeded(format!(
        "This request would exceed the shard limit for the account {} in {}. Current shard count for the account: {open}. \
         Limit: {limit}. Number of additional shards that would have resulted from this request: {more}. Refer to the AWS \
         Service Limits page (http://docs.aws.amazon.com/general/latest/gr/aws_service_limits.html) for current limits and \
         how to request higher limits.",
        call.principal.account, call.region
    )))
}

/// What is recorded of a stream, changed on the stream as it is when it is committed; a table's stream too.
struct Record<F> {
    scope: Scope,
    name: String,
    change: F,
}

impl<F> Definition for Record<F>
where
    F: FnMut(Option<&mut DataStreamDefinition>, Millis) -> Result<(), Error> + Send,
{
    type Answer = Result<(), Error>;

    fn decide(&mut self, catalog: &Snapshot, now: Millis) -> Defined<Self::Answer> {
        let stream = Stream::find(catalog, &self.scope, &self.name, now);
        let mut changed = stream.as_deref().cloned();
        if let Err(refusal) = (self.change)(changed.as_mut(), now) {
            return Defined::Answer(Err(refusal));
        }
        match (stream, changed) {
            (Some(stream), Some(changed)) if changed != *stream => Defined::Change(vec![stream.recorded_as(changed)]),
            (_, _) => Defined::Answer(Ok(())),
        }
    }

    fn answer(&mut self, _catalog: &Snapshot) -> Self::Answer {
        Ok(())
    }
}

/// Changes consumers or tags of the caller's stream of that name, if it is there and `change` agrees.
pub(super) async fn record(
    service: &Operations,
    call: &Call,
    named: &str,
    mut change: impl FnMut(&mut DataStreamDefinition, Millis) -> Result<(), Error> + Send,
) -> Result<(), Error> {
    let missing = || error::no_stream(call, named);
    let record = Record {
        scope: name::scope(call),
        name: named.to_owned(),
        change: |stream: Option<&mut DataStreamDefinition>, now| change(stream.ok_or_else(missing)?, now),
    };
    service.log.define(record).await.map_err(|cause| error::refused(call, named, cause))?
}

struct Create {
    stream: DataStreamDefinition,
    shards: usize,
}

impl Definition for Create {
    type Answer = bool;

    fn decide(&mut self, catalog: &Snapshot, _now: Millis) -> Defined<bool> {
        if catalog.data_stream(&self.stream.scope, &self.stream.name).is_some() {
            return Defined::Answer(false);
        }
        let stream = Box::new(self.stream.clone());
        Defined::Change(vec![Change::CreateDataStream { stream, shards: self.shards }])
    }

    fn answer(&mut self, _catalog: &Snapshot) -> bool {
        true
    }
}

/// CreateStream.
///
/// Shape: without a mode the stream is provisioned when it names its shards, and on demand otherwise.
pub(super) async fn create(
    service: &Operations,
    call: &Call,
    input: api::CreateStreamInput,
) -> Result<api::CreateStreamOutput, Error> {
    let mode = match (&input.stream_mode_details, input.shard_count) {
        (Some(details), _) => settings::mode(details),
        (None, Some(_)) => StreamMode::Provisioned,
        (None, None) => StreamMode::OnDemand,
    };
    let shards = match (mode, input.shard_count) {
        (StreamMode::Provisioned, Some(count)) => usize::try_from(count).unwrap_or_default(),
        (StreamMode::OnDemand, None) => ON_DEMAND_SHARDS,
        // Texts unverified.
        (StreamMode::Provisioned, None) => {
            return Err(Error::validation("ShardCount is required for streams in PROVISIONED mode."));
        }
        (StreamMode::OnDemand, Some(_)) => {
            return Err(Error::validation("ShardCount cannot be specified for streams in ON_DEMAND mode."));
        }
    };
    if table_stream::is_name(&input.stream_name) {
        return Err(errors::invalid_argument("Stream names that begin with \"ddb.\" are kept for tables' streams."));
    }
    let mut stream = DataStreamDefinition::new(name::scope(call), &*input.stream_name);
    stream.mode = mode;
    stream.tags = tags::checked(input.tags.clone().unwrap_or_default())?;
    if let Some(most) = input.max_record_size_in_kib {
        stream.max_record_kib = i64::from(most);
    }
    if let Some(warm) = input.warm_throughput_mi_bps {
        settings::record_warm_throughput(&mut stream, warm)?;
    }
    call.authorize(&access::create_stream(call, &input))?;
    if mode == StreamMode::Provisioned {
        within_limit(service, call, shards)?;
    }
    if service.log.define(Create { stream, shards }).await.map_err(refused)? {
        return Ok(api::CreateStreamOutput {});
    }
    Err(errors::resource_in_use(format!(
        "Stream {} under account {} already exists.",
        input.stream_name, call.principal.account
    )))
}

/// A change of one stream, decided on the stream as it is when it is committed.
pub(super) struct Edit<F> {
    pub scope: Scope,
    pub name: String,
    pub decide: F,
}

impl<F> Definition for Edit<F>
where
    F: FnMut(Option<&DataStreamDefinition>, Millis) -> Result<Option<Change>, Error> + Send,
{
    type Answer = Result<(), Error>;

    fn decide(&mut self, catalog: &Snapshot, now: Millis) -> Defined<Self::Answer> {
        let stream = catalog.data_stream(&self.scope, &self.name).map(|stream| &**stream);
        match (self.decide)(stream, now) {
            Ok(Some(change)) => Defined::Change(vec![change]),
            Ok(None) => Defined::Answer(Ok(())),
            Err(refusal) => Defined::Answer(Err(refusal)),
        }
    }

    fn answer(&mut self, _catalog: &Snapshot) -> Self::Answer {
        Ok(())
    }
}

/// Changes the caller's data stream of that name, if it is there and `decide` agrees.
///
/// Errors: InvalidArgumentException for a table's stream, which is changed through its table.
pub(super) async fn edit(
    service: &Operations,
    call: &Call,
    named: &str,
    mut decide: impl FnMut(&DataStreamDefinition, Millis) -> Result<Option<Change>, Error> + Send,
) -> Result<(), Error> {
    table_stream::refuse(service, call, named)?;
    let missing = || error::no_stream(call, named);
    let edit = Edit {
        scope: name::scope(call),
        name: named.to_owned(),
        decide: |stream: Option<&DataStreamDefinition>, now| decide(stream.ok_or_else(missing)?, now),
    };
    service.log.define(edit).await.map_err(|cause| error::refused(call, named, cause))?
}

/// DeleteStream.
pub(super) async fn delete(
    service: &Operations,
    call: &Call,
    input: api::DeleteStreamInput,
) -> Result<api::DeleteStreamOutput, Error> {
    let named = name::stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    call.authorize(&access::delete_stream(call, &input))?;
    let enforced = input.enforce_consumer_deletion.unwrap_or_default();
    edit(service, call, &named, |stream, _| {
        if !stream.consumers.is_empty() && !enforced {
            // Source: observed on the service (terraform-provider-aws issue 8420); the end of the text unverified.
            return Err(errors::resource_in_use(format!(
                "DeleteStream can't delete {}:{named} because there are consumers associated with this data stream. To \
                 delete {named} anyway, set the EnforceConsumerDeletion parameter to true.",
                call.principal.account
            )));
        }
        let gone = stream.state == DataStreamState::Deleting;
        Ok((!gone).then_some(Change::DeleteDataStream { id: stream.id }))
    })
    .await?;
    Ok(api::DeleteStreamOutput {})
}

/// ListStreams, by name. Tables' streams are listed when they are asked for: after a name that begins as theirs do.
pub(super) async fn list(
    service: &Operations,
    call: &Call,
    input: api::ListStreamsInput,
) -> Result<api::ListStreamsOutput, Error> {
    call.authorize(&access::list_streams(call, &input))?;
    let catalog = service.log.catalog().map_err(refused)?;
    let after = input.next_token.as_deref().or(input.exclusive_start_stream_name.as_deref());
    let most = usize::try_from(input.limit.unwrap_or(PAGE)).unwrap_or_default();
    let (scope, now) = (name::scope(call), service.log.clock().store());
    let of_tables = after.filter(|after| table_stream::is_name(after));
    let own = catalog.data_streams(&scope, after).filter(|_| of_tables.is_none()).cloned().map(Stream::from);
    let tables = of_tables.map(|after| table_stream::following(&catalog, &scope, after, now));
    let mut streams = own.chain(tables.into_iter().flatten());
    let page: Vec<Stream> = streams.by_ref().take(most).collect();
    let more = streams.next().is_some();
    let summary = |stream: &DataStreamDefinition| api::StreamSummary {
        stream_name: stream.name.clone(),
        stream_arn: stream.arn(),
        stream_status: status(stream.state),
        stream_mode_details: Some(settings::mode_details(stream.mode)),
        stream_creation_timestamp: Some(stream.created.into()),
    };
    Ok(api::ListStreamsOutput {
        stream_names: page.iter().map(|stream| stream.name.clone()).collect(),
        has_more_streams: more,
        next_token: page.last().filter(|_| more).map(|stream| stream.name.clone()),
        stream_summaries: Some(page.iter().map(|stream| summary(stream)).collect()),
    })
}

/// DescribeStream.
///
/// Order: shards by id; one answer is one snapshot of the lineage.
pub(super) async fn describe(
    service: &Operations,
    call: &Call,
    input: api::DescribeStreamInput,
) -> Result<api::DescribeStreamOutput, Error> {
    let named = name::stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    call.authorize(&access::describe_stream(call, &input))?;
    let stream = name::find(service, call, &named)?;
    if let Some(limits) = &service.kinesis_limits {
        limits.describe(call, stream.uid, &stream.name)?;
    }
    let after = After::parse(call, &named, input.exclusive_start_shard_id.as_deref())?;
    let list = stream.shards(service).map_err(refused)?;
    let most = usize::try_from(input.limit.unwrap_or(PAGE)).unwrap_or_default();
    let mut following = list.shards().iter().filter(|shard| after.precedes(shard));
    // A stream that is being made shows no shards yet. Source: observed by kinesalite's tests.
    let shown = if stream.state == DataStreamState::Creating { 0 } else { most };
    let page: Vec<api::Shard> = following.by_ref().take(shown).map(shards::render).collect();
    let has_more_shards = shown > 0 && following.next().is_some();
    Ok(api::DescribeStreamOutput {
        stream_description: api::StreamDescription {
            stream_name: stream.name.clone(),
            stream_arn: stream.arn(),
            stream_status: status(stream.state),
            stream_mode_details: Some(settings::mode_details(stream.mode)),
            shards: page,
            has_more_shards,
            retention_period_hours: hours(&stream),
            stream_creation_timestamp: stream.created.into(),
            enhanced_monitoring: vec![settings::metrics(&stream)],
            encryption_type: Some(settings::encryption(&stream)),
            key_id: stream.encryption_key.clone(),
        },
    })
}

/// DescribeStreamSummary.
pub(super) async fn summary(
    service: &Operations,
    call: &Call,
    input: api::DescribeStreamSummaryInput,
) -> Result<api::DescribeStreamSummaryOutput, Error> {
    let named = name::stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    call.authorize(&access::describe_stream_summary(call, &input))?;
    let stream = name::find(service, call, &named)?;
    let list = stream.shards(service).map_err(refused)?;
    let open = if stream.state == DataStreamState::Creating { 0 } else { open(&list) };
    Ok(api::DescribeStreamSummaryOutput {
        stream_description_summary: api::StreamDescriptionSummary {
            stream_name: stream.name.clone(),
            stream_arn: stream.arn(),
            stream_id: None,
            stream_status: status(stream.state),
            stream_mode_details: Some(settings::mode_details(stream.mode)),
            retention_period_hours: hours(&stream),
            stream_creation_timestamp: stream.created.into(),
            enhanced_monitoring: vec![settings::metrics(&stream)],
            encryption_type: Some(settings::encryption(&stream)),
            key_id: stream.encryption_key.clone(),
            open_shard_count: i32::try_from(open).unwrap_or(i32::MAX),
            consumer_count: i32::try_from(stream.consumers.len()).ok(),
            warm_throughput: settings::warm_throughput(&stream),
            max_record_size_in_kib: i32::try_from(stream.max_record_kib).ok(),
        },
    })
}

/// DescribeLimits.
pub(super) async fn limits(
    service: &Operations,
    call: &Call,
    input: api::DescribeLimitsInput,
) -> Result<api::DescribeLimitsOutput, Error> {
    call.authorize(&access::describe_limits(call, &input))?;
    let catalog = service.log.catalog().map_err(refused)?;
    let on_demand = catalog.data_streams(&name::scope(call), None).filter(|s| s.mode == StreamMode::OnDemand).count();
    let count = |count: usize| i32::try_from(count).unwrap_or(i32::MAX);
    Ok(api::DescribeLimitsOutput {
        shard_limit: count(shard_limit(call)),
        open_shard_count: count(open_shards(service, call, StreamMode::Provisioned)?),
        on_demand_stream_count: count(on_demand),
        on_demand_stream_count_limit: ON_DEMAND_STREAMS_MAX,
    })
}

/// DescribeAccountSettings: no commitment was ever made.
pub(super) async fn account_settings(
    _service: &Operations,
    call: &Call,
    input: api::DescribeAccountSettingsInput,
) -> Result<api::DescribeAccountSettingsOutput, Error> {
    call.authorize(&access::describe_account_settings(call, &input))?;
    Ok(api::DescribeAccountSettingsOutput { minimum_throughput_billing_commitment: None })
}

/// UpdateAccountSettings: a commitment to pay for throughput means nothing here (type and text are ours).
pub(super) async fn update_account_settings(
    _service: &Operations,
    call: &Call,
    input: api::UpdateAccountSettingsInput,
) -> Result<api::UpdateAccountSettingsOutput, Error> {
    call.authorize(&access::update_account_settings(call, &input))?;
    Err(errors::invalid_argument("This server bills nothing, so it takes no commitment to a minimum throughput."))
}

fn hours(stream: &DataStreamDefinition) -> i32 {
    i32::try_from(stream.retention_hours).unwrap_or(i32::MAX)
}

fn status(state: DataStreamState) -> api::StreamStatus {
    match state {
        DataStreamState::Creating => api::StreamStatus::Creating,
        DataStreamState::Active => api::StreamStatus::Active,
        DataStreamState::Updating => api::StreamStatus::Updating,
        DataStreamState::Deleting => api::StreamStatus::Deleting,
    }
}
