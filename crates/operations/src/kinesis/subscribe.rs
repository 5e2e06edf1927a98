//! SubscribeToShard: records pushed to a registered consumer as they are put.
//!
//! ```text
//! start ──► page ──► event ──► … ──► tail: wait for a record, five seconds, a change of definitions, or a rival
//!             └─ the end of a closed shard ──► last event, with the children ──► end of stream
//! ```
//! A page that many subscribers read from one position is encoded once ([`super::pages`]).
//!
//! Source: "SubscribeToShard", Kinesis API reference; "Developing enhanced fan-out consumers", developer guide.

use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures_util::future::select;
use futures_util::stream;
use headwater_api::kinesis as api;
use headwater_api::kinesis::{access, errors};
use headwater_api::{Call, Error, Events, Pushed};
use headwater_catalog::{ConsumerDefinition, ConsumerState};
use headwater_log::{Page, PageLimit, ReadError, ReadFrom, ShardInfo};
use headwater_types::limits::KINESIS_SUBSCRIPTION_LIFE_MS;
use headwater_types::{Millis, SequenceNumber, ShardUid, StreamUid};
use tokio::sync::watch;

use super::pages::{Place, Ready};
use super::subscriptions::{Key, Registration};
use super::table_stream::Stream;
use super::{consumers, error, name, read, record};
use crate::service::Operations;

/// Records of one event: what GetRecords gives at most, in smaller pages. Unit: bytes. Source: ours.
const EVENT: PageLimit = PageLimit { records: 10_000, bytes: 1 << 20 };
/// An event comes at least so often, if an empty one: clients take longer silence for a broken connection. Unit: system
/// time. Source: ours; the service's interval is about this.
const SILENCE_MAX: Duration = Duration::from_secs(5);
/// Under load an event follows the one before no sooner: what came together goes in one event. What comes after a quiet
/// time leaves at once. The timer's grain makes it up to one millisecond more. Source: ours.
const GATHER: Duration = Duration::from_millis(1);

type Item = Result<Pushed<api::SubscribeToShardEventStream>, Error>;

/// SubscribeToShard.
///
/// Errors: before the first frame an answer; later the stream's last frame.
pub(super) async fn subscribe(
    service: &Operations,
    call: &Call,
    input: api::SubscribeToShardInput,
) -> Result<api::SubscribeToShardOutput, Error> {
    call.authorize(&access::subscribe_to_shard(call, &input))?;
    let (stream, consumer) = name::consumer(service, call, Some(&input.consumer_arn), None, None)?;
    if consumer.state != ConsumerState::Active {
        return Err(consumers::not_active(call, &stream, &consumer));
    }
    if !stream.state.serves() {
        return Err(error::no_stream(call, &stream.name));
    }
    let gone = || error::no_shard(call, &stream.name, &input.shard_id);
    let list = stream.shards(service).map_err(|cause| error::refused(call, &stream.name, cause))?;
    let shard = stream.shard(&list, &input.shard_id).ok_or_else(gone)?;
    let wanted = read::Wanted {
        kind: input.starting_position.type_,
        number: input.starting_position.sequence_number.as_deref(),
        timestamp: input.starting_position.timestamp,
    };
    let from = read::position(service, call, &stream, shard, &wanted)?;
    #[cfg(feature = "planted-bugs")]
    let from = super::planted::resumed(service, stream.uid, shard.uid, from);
    let key = Key { stream: stream.uid, shard: shard.uid, consumer: stream.consumer_arn(&consumer) };
    let account = &call.principal.account;
    let shown = format!("{account}:{}:{}:{}", stream.name, name::shard_id(shard.index), consumer.name);
    let registration = service.subscriptions.register(key, service.log.runtime().monotonic());
    let registration = registration.ok_or_else(|| taken(&shown))?;
    let subscription = Subscription::new(service, call, &stream, shard, from, registration, shown);
    let event_stream: Events<api::SubscribeToShardEventStream> =
        Box::pin(stream::unfold(subscription, |mut subscription| async move {
            let item = subscription.next().await?;
            Some((item, subscription))
        }));
    Ok(api::SubscribeToShardOutput { event_stream })
}

/// Source: the beginning observed on the service (fs2-kinesis and Spark's connectors match it); what follows unverified.
fn taken(shown: &str) -> Error {
    errors::resource_in_use(format!("Another active subscription exists for this consumer: {shown}"))
}

/// One consumer at one shard.
struct Subscription {
    service: Operations,
    account: Arc<str>,
    stream: StreamUid,
    stream_name: String,
    shard: ShardInfo,
    from: ReadFrom,
    /// Store time.
    expires: Millis,
    registration: Registration,
    shown: String,
    changed: watch::Receiver<u64>,
    catalog: watch::Receiver<u64>,
    /// When the last event went out. Unit: system time since the start.
    pushed: Option<Duration>,
    over: bool,
}

impl Subscription {
    fn new(
        service: &Operations,
        call: &Call,
        stream: &Stream,
        shard: &ShardInfo,
        from: ReadFrom,
        registration: Registration,
        shown: String,
    ) -> Self {
        let log = &service.log;
        Self {
            account: call.principal.account.clone(),
            stream: stream.uid,
            stream_name: stream.name.clone(),
            shard: shard.clone(),
            from,
            expires: Millis(log.clock().store().0.saturating_add(KINESIS_SUBSCRIPTION_LIFE_MS)),
            registration,
            shown,
            changed: log.changed(shard.uid),
            catalog: log.catalog_changes(),
            pushed: None,
            over: false,
            service: service.clone(),
        }
    }

    /// The next event; `None` when the subscription is over.
    async fn next(&mut self) -> Option<Item> {
        loop {
            if self.over {
                return None;
            }
            self.changed.mark_unchanged();
            self.catalog.mark_unchanged();
            match self.step() {
                Ok(Some(event)) => {
                    self.pushed = Some(self.service.log.runtime().monotonic());
                    return Some(Ok(event));
                }
                Ok(None) if self.over => return None,
                Ok(None) => self.wait().await,
                Err(refusal) => {
                    self.over = true;
                    return Some(Err(refusal));
                }
            }
        }
    }

    /// What there is to push now.
    fn step(&mut self) -> Result<Option<Pushed<api::SubscribeToShardEventStream>>, Error> {
        if self.registration.is_taken() {
            return Err(taken(&self.shown));
        }
        let now = self.service.log.clock().store();
        if now >= self.expires {
            self.over = true;
            return Ok(None);
        }
        let Some(stream) = self.definition()? else { return Ok(None) };
        let place = Place::of(self.stream, self.shard.uid, stream.version, self.from);
        if let Some(ready) = place.and_then(|place| self.service.pages.get(&place, now)) {
            self.from = ready.next;
            return Ok(Some(Pushed::Frame(ready.frame)));
        }
        let (records, page) = record::fit(&stream, &self.shard, self.page(&stream)?, EVENT.bytes)?;
        if page.records.is_empty() && page.next.is_some() {
            let event = || self.event(&stream, records, &page, now);
            return Ok(self.is_silent().then(event).transpose()?.map(Into::into));
        }
        let event = self.event(&stream, records, &page, now)?;
        match (page.next, place) {
            (Some(next), Some(place)) => {
                let frame = headwater_api::Frame::of(&event);
                self.service.pages.put(place, Ready { frame: frame.clone(), next }, now);
                self.from = next;
                Ok(Some(Pushed::Frame(frame)))
            }
            (Some(next), None) => {
                self.from = next;
                Ok(Some(event.into()))
            }
            (None, _) => {
                self.over = true;
                Ok(Some(event.into()))
            }
        }
    }

    /// The stream as it is now; `None`, and the end, when the server stops.
    ///
    /// Errors: ResourceNotFoundException once the stream or the consumer is going away.
    fn definition(&mut self) -> Result<Option<Stream>, Error> {
        let Ok(catalog) = self.service.log.catalog() else {
            self.over = true;
            return Ok(None);
        };
        let stream = Stream::by_uid(&catalog, self.stream, self.service.log.clock().store());
        let Some(stream) = stream.filter(|stream| stream.state.serves()) else {
            return Err(errors::resource_not_found(format!(
                "Stream {} under account {} not found.",
                self.stream_name, self.account
            )));
        };
        let arn = self.registration.consumer();
        let own = |consumer: &ConsumerDefinition| {
            consumer.state == ConsumerState::Active && stream.consumer_arn(consumer) == arn
        };
        if stream.consumers.iter().any(own) {
            return Ok(Some(stream));
        }
        let name = arn.rsplit('/').next().and_then(|end| end.split(':').next()).unwrap_or_default();
        Err(errors::resource_not_found(format!("Consumer {name}, account {} not found.", self.account)))
    }

    fn page(&self, stream: &Stream) -> Result<Page, Error> {
        let page = read::try_page(&self.service, stream, &self.shard, self.from, EVENT);
        page.map_err(|cause| match cause {
            ReadError::NoShard => errors::resource_not_found(format!(
                "Shard {} in stream {} under account {} does not exist",
                name::shard_id(self.shard.index),
                self.stream_name,
                self.account
            )),
            ReadError::Trimmed => Error::internal("a trimmed position is read from the horizon"),
            ReadError::Log(cause) => crate::dynamodb::error::refused(cause),
        })
    }

    /// Whether so much time has passed without an event that an empty one is due; the first comes at once.
    fn is_silent(&self) -> bool {
        let now = self.service.log.runtime().monotonic();
        self.pushed.is_none_or(|pushed| now.saturating_sub(pushed) >= SILENCE_MAX)
    }

    /// Shape: the last event of a shard has its children and no `ContinuationSequenceNumber`.
    fn event(
        &self,
        stream: &Stream,
        records: Vec<api::Record>,
        page: &Page,
        now: Millis,
    ) -> Result<api::SubscribeToShardEventStream, Error> {
        let read_to = page.records.last().map_or_else(|| self.before(), |last| last.number);
        let render = |number| headwater_log::sequence::kinesis::render(number, self.shard.index, self.shard.created);
        let children = match page.next {
            Some(_) => None,
            None => Some(read::children(&self.service, stream, &self.shard)?),
        };
        Ok(api::SubscribeToShardEventStream::SubscribeToShardEvent(api::SubscribeToShardEvent {
            records,
            continuation_sequence_number: page.next.map(|_| render(read_to)),
            millis_behind_latest: read::behind(page, now),
            child_shards: children,
        }))
    }

    /// A number after which everything is still to come: where a client goes on that was given no record.
    fn before(&self) -> SequenceNumber {
        match self.from {
            ReadFrom::Horizon => SequenceNumber(self.shard.starting.0.saturating_sub(1)),
            ReadFrom::At(number) => SequenceNumber(number.0.saturating_sub(1)),
            ReadFrom::After(number) | ReadFrom::Tail(number) => number,
        }
    }

    /// Waits for whatever may change what there is to push.
    async fn wait(&mut self) {
        let runtime = self.service.log.runtime().clone();
        let silent = self.pushed.map(|pushed| runtime.monotonic().saturating_sub(pushed)).unwrap_or_default();
        let left = self.expires.0.saturating_sub(self.service.log.clock().store().0).max(1);
        let most = SILENCE_MAX.saturating_sub(silent).min(Duration::from_millis(left.unsigned_abs()));
        let sleep = runtime.sleep(most.max(Duration::from_millis(1)));
        let gone = {
            let changed = pin!(self.changed.changed());
            let catalog = pin!(self.catalog.changed());
            let taken = pin!(self.registration.taken());
            let changed = select(changed, select(catalog, select(taken, sleep)));
            // A sender that is gone would wake for ever: it was dropped with nobody listening, and there is a new one.
            matches!(changed.await, futures_util::future::Either::Left((Err(_), _)))
        };
        if gone {
            self.changed = self.service.log.changed(self.shard.uid);
        }
        // Counted again: the wait may have been long.
        let silent = self.pushed.map_or(GATHER, |pushed| runtime.monotonic().saturating_sub(pushed));
        if silent < GATHER {
            runtime.sleep(GATHER - silent).await;
        }
    }
}

impl Place {
    /// Where many may read on: not a horizon, which moves, and not a time.
    fn of(stream: StreamUid, shard: ShardUid, version: u64, from: ReadFrom) -> Option<Self> {
        match from {
            ReadFrom::After(after) | ReadFrom::Tail(after) => Some(Self { stream, shard, version, after }),
            ReadFrom::Horizon | ReadFrom::At(_) => None,
        }
    }
}
