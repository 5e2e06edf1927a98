//! What a stream is set to, as clients see it.

use headwater_api::Error;
use headwater_api::kinesis as api;
use headwater_catalog::{DataStreamDefinition, StreamMode};

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
