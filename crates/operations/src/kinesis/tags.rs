//! Tags of streams and consumers, by both families of operations.

use std::collections::BTreeMap;

use headwater_api::kinesis as api;
use headwater_api::kinesis::{access, errors};
use headwater_api::{Call, Error};
use headwater_catalog::DataStreamDefinition;

use super::stream::record;
use super::{error, name};
use crate::service::Operations;

/// Of one stream or consumer. Source: "AddTagsToStream", Kinesis API reference.
const TAGS_MAX: usize = 50;
/// Tags of a page of ListTagsForStream. Source: "ListTagsForStream", Kinesis API reference.
const PAGE: i32 = 50;
/// Besides letters, digits and white space. Source: the text below.
const MARKS: &str = "_./=+-%@";

type Tags = BTreeMap<String, String>;

/// Tags that a stream or a consumer may be made with.
///
/// Errors: InvalidArgumentException.
pub(super) fn checked(tags: Tags) -> Result<Tags, Error> {
    tags.iter().try_for_each(|(key, value)| characters(key).and_then(|()| characters(value)))?;
    if tags.len() > TAGS_MAX { Err(too_many("create")) } else { Ok(tags) }
}

/// Source: the text observed by kinesalite's tests.
fn characters(text: &str) -> Result<(), Error> {
    if text.chars().all(|c| c.is_alphanumeric() || c.is_whitespace() || MARKS.contains(c)) {
        return Ok(());
    }
    Err(errors::invalid_argument(
        "Some tags contain invalid characters. Valid characters: Unicode letters, digits, white space, _ . / = + - % @.",
    ))
}

/// The form is kinesalite's, observed when the limit was ten.
fn too_many(subject: &str) -> Error {
    errors::invalid_argument(format!(
        "Failed to {subject} because a given stream cannot have more than {TAGS_MAX} tags associated with it."
    ))
}

/// What has tags.
struct Resource {
    stream: String,
    /// A consumer of it, by its ARN.
    consumer: Option<String>,
}

impl Resource {
    fn of_stream(stream: String) -> Self {
        Self { stream, consumer: None }
    }

    /// Errors: ResourceNotFoundException.
    fn parse(service: &Operations, call: &Call, arn: &str) -> Result<Self, Error> {
        if !arn.contains("/consumer/") {
            return name::stream(call, None, Some(arn)).map(Self::of_stream);
        }
        let (stream, _) = name::consumer(service, call, Some(arn), None, None)?;
        Ok(Self { stream: stream.name.clone(), consumer: Some(arn.to_owned()) })
    }

    fn tags<'a>(&self, call: &Call, stream: &'a mut DataStreamDefinition) -> Result<&'a mut Tags, Error> {
        let Some(arn) = &self.consumer else { return Ok(&mut stream.tags) };
        let place = stream.consumers.iter().position(|consumer| stream.consumer_arn(consumer) == *arn);
        let consumer = place.and_then(|place| stream.consumers.get_mut(place));
        consumer.map(|consumer| &mut consumer.tags).ok_or_else(|| error::no_consumer(call, arn))
    }

    async fn change(
        &self,
        service: &Operations,
        call: &Call,
        mut change: impl FnMut(&mut Tags) -> Result<(), Error> + Send,
    ) -> Result<(), Error> {
        record(service, call, &self.stream, |stream, _| change(self.tags(call, stream)?)).await
    }

    async fn add(&self, service: &Operations, call: &Call, tags: &Tags) -> Result<(), Error> {
        tags.iter().try_for_each(|(key, value)| characters(key).and_then(|()| characters(value)))?;
        self.change(service, call, |known| {
            known.extend(tags.clone());
            let subject = || format!("add tags to stream {} under account {}", self.stream, call.principal.account);
            if known.len() > TAGS_MAX { Err(too_many(&subject())) } else { Ok(()) }
        })
        .await
    }

    /// A key that is not there is no error.
    async fn remove(&self, service: &Operations, call: &Call, keys: &[String]) -> Result<(), Error> {
        keys.iter().try_for_each(|key| characters(key))?;
        self.change(service, call, |known| {
            known.retain(|key, _| !keys.contains(key));
            Ok(())
        })
        .await
    }

    fn list(&self, service: &Operations, call: &Call) -> Result<Vec<api::Tag>, Error> {
        let mut stream = (*name::find(service, call, &self.stream)?).clone();
        let tags = std::mem::take(self.tags(call, &mut stream)?);
        Ok(tags.into_iter().map(|(key, value)| api::Tag { key, value: Some(value) }).collect())
    }
}

/// AddTagsToStream.
pub(super) async fn add_to_stream(
    service: &Operations,
    call: &Call,
    input: api::AddTagsToStreamInput,
) -> Result<api::AddTagsToStreamOutput, Error> {
    let named = name::stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    call.authorize(&access::add_tags_to_stream(call, &input))?;
    Resource::of_stream(named).add(service, call, &input.tags).await?;
    Ok(api::AddTagsToStreamOutput {})
}

/// RemoveTagsFromStream.
pub(super) async fn remove_from_stream(
    service: &Operations,
    call: &Call,
    input: api::RemoveTagsFromStreamInput,
) -> Result<api::RemoveTagsFromStreamOutput, Error> {
    let named = name::stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    call.authorize(&access::remove_tags_from_stream(call, &input))?;
    Resource::of_stream(named).remove(service, call, &input.tag_keys).await?;
    Ok(api::RemoveTagsFromStreamOutput {})
}

/// ListTagsForStream, by key.
pub(super) async fn list_of_stream(
    service: &Operations,
    call: &Call,
    input: api::ListTagsForStreamInput,
) -> Result<api::ListTagsForStreamOutput, Error> {
    let named = name::stream(call, input.stream_name.as_deref(), input.stream_arn.as_deref())?;
    call.authorize(&access::list_tags_for_stream(call, &input))?;
    let mut tags = Resource::of_stream(named).list(service, call)?;
    tags.retain(|tag| input.exclusive_start_tag_key.as_ref().is_none_or(|start| tag.key > *start));
    let most = usize::try_from(input.limit.unwrap_or(PAGE)).unwrap_or_default();
    let has_more_tags = tags.len() > most;
    tags.truncate(most);
    Ok(api::ListTagsForStreamOutput { tags, has_more_tags })
}

/// TagResource: a stream or a consumer.
pub(super) async fn tag(
    service: &Operations,
    call: &Call,
    input: api::TagResourceInput,
) -> Result<api::TagResourceOutput, Error> {
    call.authorize(&access::tag_resource(call, &input))?;
    Resource::parse(service, call, &input.resource_arn)?.add(service, call, &input.tags).await?;
    Ok(api::TagResourceOutput {})
}

/// UntagResource.
pub(super) async fn untag(
    service: &Operations,
    call: &Call,
    input: api::UntagResourceInput,
) -> Result<api::UntagResourceOutput, Error> {
    call.authorize(&access::untag_resource(call, &input))?;
    Resource::parse(service, call, &input.resource_arn)?.remove(service, call, &input.tag_keys).await?;
    Ok(api::UntagResourceOutput {})
}

/// ListTagsForResource, by key.
pub(super) async fn list(
    service: &Operations,
    call: &Call,
    input: api::ListTagsForResourceInput,
) -> Result<api::ListTagsForResourceOutput, Error> {
    call.authorize(&access::list_tags_for_resource(call, &input))?;
    let tags = Resource::parse(service, call, &input.resource_arn)?.list(service, call)?;
    Ok(api::ListTagsForResourceOutput { tags: Some(tags) })
}
