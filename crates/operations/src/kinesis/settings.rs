//! What a stream is set to: retention, mode, encryption, shard-level metrics, record size.

use std::collections::BTreeSet;

use headwater_api::kinesis as api;
use headwater_api::kinesis::{access, errors};
use headwater_api::{Call, Error};
use headwater_catalog::{DataStreamDefinition, StreamMode};
use headwater_log::Change;

use super::stream::edit;
use super::{name, stream};
use crate::service::Operations;

/// Unit: hours. Source: "IncreaseStreamRetentionPeriod", Kinesis API reference.
const RETENTION_HOURS: std::ops::RangeInclusive<i64> = 24..=8_760;
/// The member under which warm throughput is recorded.
const WARM: &str = "WarmThroughputMiBps";

/// A mode as it is asked for.
pub(super) fn mode(details: &api::StreamModeDetails) -> StreamMode {
    match details.stream_mode {
        api::StreamMode::Provisioned => StreamMode::Provisioned,
        api::StreamMode::OnDemand => StreamMode::OnDemand,
    }
}

/// A mode as it is shown.
pub(super) fn mode_details(mode: StreamMode) -> api::StreamModeDetails {
    let stream_mode = match mode {
        StreamMode::Provisioned => api::StreamMode::Provisioned,
        StreamMode::OnDemand => api::StreamMode::OnDemand,
    };
    api::StreamModeDetails { stream_mode }
}

/// Shard-level metrics that were asked for.
pub(super) fn metrics(stream: &DataStreamDefinition) -> api::EnhancedMetrics {
    let named = stream.monitoring.iter().filter_map(|metric| api::MetricsName::parse(metric));
    api::EnhancedMetrics { shard_level_metrics: Some(named.collect()) }
}

/// The described encryption; nothing is encrypted.
pub(super) fn encryption(stream: &DataStreamDefinition) -> api::EncryptionType {
    if stream.encryption_key.is_some() { api::EncryptionType::Kms } else { api::EncryptionType::None }
}

/// Warm throughput as it was recorded.
pub(super) fn warm_throughput(stream: &DataStreamDefinition) -> Option<api::WarmThroughputObject> {
    let wanted = stream.recorded.get(WARM)?.as_i64().and_then(|rate| i32::try_from(rate).ok());
    Some(api::WarmThroughputObject { target_mi_bps: wanted, current_mi_bps: wanted })
}

/// Records warm throughput, which only on-demand streams have (text unverified).
pub(super) fn record_warm_throughput(stream: &mut DataStreamDefinition, rate: i32) -> Result<(), Error> {
    if stream.mode != StreamMode::OnDemand {
        return Err(Error::validation("WarmThroughputMiBps can only be set for streams in ON_DEMAND mode."));
    }
    stream.recorded.insert(WARM.to_owned(), rate.into());
    Ok(())
}

/// Changes what an ACTIVE stream is set to; it is UPDATING for a short while.
async fn update(
    service: &Operations,
    call: &Call,
    named: &str,
    mut change: impl FnMut(&mut DataStreamDefinition) -> Result<(), Error> + Send,
) -> Result<(), Error> {
    edit(service, call, named, |stream, _| {
        name::active(call, stream)?;
        let mut changed = stream.clone();
        change(&mut changed)?;
        Ok((changed != *stream).then(|| Change::UpdateDataStream { stream: Box::new(changed) }))
    })
    .await
}

/// IncreaseStreamRetentionPeriod. What the shorter retention hides stays hidden.
pub(super) async fn increase_retention(
    service: &Operations,
    call: &Call,
    input: api::IncreaseStreamRetentionPeriodInput,
) -> Result<api::IncreaseStreamRetentionPeriodOutput, Error> {
    let named = name::stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    let hours = allowed_hours(input.retention_period_hours)?;
    call.authorize(&access::increase_stream_retention_period(call, &input))?;
    update(service, call, &named, |stream| {
        if hours < stream.retention_hours {
            return Err(wrong_way(stream, hours, "shorter", "Decrease"));
        }
        stream.retention_hours = hours;
        Ok(())
    })
    .await?;
    Ok(api::IncreaseStreamRetentionPeriodOutput {})
}

/// DecreaseStreamRetentionPeriod. What is older is gone at once.
pub(super) async fn decrease_retention(
    service: &Operations,
    call: &Call,
    input: api::DecreaseStreamRetentionPeriodInput,
) -> Result<api::DecreaseStreamRetentionPeriodOutput, Error> {
    let named = name::stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    let hours = allowed_hours(input.retention_period_hours)?;
    call.authorize(&access::decrease_stream_retention_period(call, &input))?;
    update(service, call, &named, |stream| {
        if hours > stream.retention_hours {
            return Err(wrong_way(stream, hours, "longer", "Increase"));
        }
        stream.retention_hours = hours;
        Ok(())
    })
    .await?;
    Ok(api::DecreaseStreamRetentionPeriodOutput {})
}

/// Source: texts observed by kinesalite's tests.
fn allowed_hours(hours: i32) -> Result<i64, Error> {
    let hours = i64::from(hours);
    let (least, most) = (RETENTION_HOURS.start(), RETENTION_HOURS.end());
    if hours < *least {
        return Err(errors::invalid_argument(format!(
            "Minimum allowed retention period is {least} hours. Requested retention period ({hours} hours) is too short."
        )));
    }
    if hours > *most {
        return Err(errors::invalid_argument(format!(
            "Maximum allowed retention period is {most} hours. Requested retention period ({hours} hours) is too long."
        )));
    }
    Ok(hours)
}

fn wrong_way(stream: &DataStreamDefinition, hours: i64, how: &str, other: &str) -> Error {
    errors::invalid_argument(format!(
        "Requested retention period ({hours} hours) for stream {} can not be {how} than existing retention period ({} hours). \
         Use {other}RetentionPeriod API.",
        stream.name, stream.retention_hours
    ))
}

/// UpdateStreamMode.
pub(super) async fn update_mode(
    service: &Operations,
    call: &Call,
    input: api::UpdateStreamModeInput,
) -> Result<api::UpdateStreamModeOutput, Error> {
    let named = name::stream(call, None, Some(&input.stream_arn))?;
    call.authorize(&access::update_stream_mode(call, &input))?;
    let wanted = mode(&input.stream_mode_details);
    if wanted == StreamMode::Provisioned {
        let found = name::own(service, call, &named)?;
        if found.mode != wanted {
            stream::within_limit(service, call, stream::open_of(service, &found)?)?;
        }
    }
    if let Some(limits) = &service.kinesis_limits {
        limits.mode(name::own(service, call, &named)?.uid, &named)?;
    }
    let now = service.log.clock().store();
    update(service, call, &named, |stream| {
        if stream.mode != wanted {
            (stream.mode, stream.mode_changed) = (wanted, Some(now));
            stream.recorded.remove(WARM);
        }
        match input.warm_throughput_mi_bps {
            Some(rate) => record_warm_throughput(stream, rate),
            None => Ok(()),
        }
    })
    .await?;
    Ok(api::UpdateStreamModeOutput {})
}

/// UpdateStreamWarmThroughput: recorded and shown.
pub(super) async fn update_warm_throughput(
    service: &Operations,
    call: &Call,
    input: api::UpdateStreamWarmThroughputInput,
) -> Result<api::UpdateStreamWarmThroughputOutput, Error> {
    let named = name::stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    call.authorize(&access::update_stream_warm_throughput(call, &input))?;
    update(service, call, &named, |stream| record_warm_throughput(stream, input.warm_throughput_mi_bps)).await?;
    let stream = name::own(service, call, &named)?;
    Ok(api::UpdateStreamWarmThroughputOutput {
        stream_arn: Some(stream.arn()),
        stream_name: Some(named),
        warm_throughput: warm_throughput(&stream),
    })
}

/// StartStreamEncryption: the described state changes, and nothing is encrypted.
pub(super) async fn start_encryption(
    service: &Operations,
    call: &Call,
    input: api::StartStreamEncryptionInput,
) -> Result<api::StartStreamEncryptionOutput, Error> {
    let named = name::stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    by_kms(input.encryption_type)?;
    call.authorize(&access::start_stream_encryption(call, &input))?;
    update(service, call, &named, |stream| {
        stream.encryption_key = Some(input.key_id.clone());
        Ok(())
    })
    .await?;
    Ok(api::StartStreamEncryptionOutput {})
}

/// StopStreamEncryption.
pub(super) async fn stop_encryption(
    service: &Operations,
    call: &Call,
    input: api::StopStreamEncryptionInput,
) -> Result<api::StopStreamEncryptionOutput, Error> {
    let named = name::stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    by_kms(input.encryption_type)?;
    call.authorize(&access::stop_stream_encryption(call, &input))?;
    update(service, call, &named, |stream| {
        stream.encryption_key = None;
        Ok(())
    })
    .await?;
    Ok(api::StopStreamEncryptionOutput {})
}

/// "The only valid value is KMS", Kinesis API reference (text unverified).
fn by_kms(given: api::EncryptionType) -> Result<(), Error> {
    if given == api::EncryptionType::Kms {
        return Ok(());
    }
    Err(errors::invalid_argument(format!(
        "EncryptionType {} is not valid. The only valid value is KMS.",
        given.as_str()
    )))
}

/// EnableEnhancedMonitoring: the metrics are recorded and shown.
pub(super) async fn enable_monitoring(
    service: &Operations,
    call: &Call,
    input: api::EnableEnhancedMonitoringInput,
) -> Result<api::EnhancedMonitoringOutput, Error> {
    let named = name::stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    call.authorize(&access::enable_enhanced_monitoring(call, &input))?;
    monitor(service, call, &named, |current| current | &every(&input.shard_level_metrics)).await
}

/// DisableEnhancedMonitoring.
pub(super) async fn disable_monitoring(
    service: &Operations,
    call: &Call,
    input: api::DisableEnhancedMonitoringInput,
) -> Result<api::EnhancedMonitoringOutput, Error> {
    let named = name::stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    call.authorize(&access::disable_enhanced_monitoring(call, &input))?;
    monitor(service, call, &named, |current| current - &every(&input.shard_level_metrics)).await
}

/// The metrics that are meant; `ALL` means each of them.
fn every(given: &[api::MetricsName]) -> BTreeSet<api::MetricsName> {
    let all = given.contains(&api::MetricsName::All);
    let named = if all { api::MetricsName::ALL } else { given };
    named.iter().copied().filter(|metric| *metric != api::MetricsName::All).collect()
}

async fn monitor(
    service: &Operations,
    call: &Call,
    named: &str,
    change: impl Fn(&BTreeSet<api::MetricsName>) -> BTreeSet<api::MetricsName> + Send + Sync,
) -> Result<api::EnhancedMonitoringOutput, Error> {
    let (mut before, mut after) = (BTreeSet::new(), BTreeSet::new());
    update(service, call, named, |stream| {
        before = stream.monitoring.iter().filter_map(|metric| api::MetricsName::parse(metric)).collect();
        after = change(&before);
        stream.monitoring = after.iter().map(|metric| metric.as_str().to_owned()).collect();
        Ok(())
    })
    .await?;
    Ok(api::EnhancedMonitoringOutput {
        stream_name: Some(named.to_owned()),
        current_shard_level_metrics: Some(before.into_iter().collect()),
        desired_shard_level_metrics: Some(after.into_iter().collect()),
        stream_arn: Some(name::own(service, call, named)?.arn()),
    })
}

/// UpdateMaxRecordSize.
pub(super) async fn update_record_size(
    service: &Operations,
    call: &Call,
    input: api::UpdateMaxRecordSizeInput,
) -> Result<api::UpdateMaxRecordSizeOutput, Error> {
    let named = name::stream(call, None, input.stream_arn.as_deref())?;
    call.authorize(&access::update_max_record_size(call, &input))?;
    update(service, call, &named, |stream| {
        stream.max_record_kib = i64::from(input.max_record_size_in_kib);
        Ok(())
    })
    .await?;
    Ok(api::UpdateMaxRecordSizeOutput {})
}
