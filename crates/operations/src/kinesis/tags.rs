//! What is checked of tags wherever they are given.

use std::collections::BTreeMap;

use headwater_api::Error;
use headwater_api::kinesis::errors;

/// Of one stream or consumer. Source: "AddTagsToStream", Kinesis API reference.
const TAGS_MAX: usize = 50;

/// Tags that a stream or a consumer may have (texts unverified).
///
/// Errors: InvalidArgumentException for more than fifty, and for keys of the service's own.
pub(super) fn checked(tags: BTreeMap<String, String>) -> Result<BTreeMap<String, String>, Error> {
    if tags.len() > TAGS_MAX {
        return Err(errors::invalid_argument(format!("Failed to add tags: more than {TAGS_MAX} tags.")));
    }
    if let Some(key) = tags.keys().find(|key| key.to_lowercase().starts_with("aws:")) {
        return Err(errors::invalid_argument(format!(
            "Tag key {key} begins with aws:, which is kept for the service."
        )));
    }
    Ok(tags)
}
