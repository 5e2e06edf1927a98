//! TransactWriteItems and TransactGetItems.
//!
//! Order: each action's form, in order of the request → what may be done → tables → keys → one item once → the transaction.
//! What is wrong with a key or an item only in the light of its table cancels the transaction; an empty key refuses the
//! request, as the service does.
//! Source: observed on the service by dynamodb-conformance (September and October 2026), where not said otherwise.

mod get;
mod request;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use bytes::Bytes;
use headwater_api::dynamodb as api;
use headwater_api::dynamodb::{access, errors};
use headwater_api::{AnswerItem, Call, Error};
use headwater_catalog::TableDefinition;
use headwater_table::{
    Action, KeyError, Refusal, Token, TransactAction, TransactRefusal, Transacted, Written, capacity, schema, transact,
};
use headwater_types::key::ItemKey;
use headwater_types::limits::TRANSACTION_BYTES_MAX;
use headwater_types::{HashKey, Item};

use self::request::{Deed, Request};
use super::consumed::{Shown, Used, collection, measured};
use super::error;
use super::item::{lookup, scalar_keys, shown_in_error, updatable};
use crate::service::Operations;

pub(crate) use self::get::get;

const DUPLICATES: &str = "Transaction request cannot include multiple operations on one item";

/// What is against one action, with the item that failed its condition if that is to be shown; none if nothing is.
type Reason = Option<(Error, Option<AnswerItem>)>;

/// TransactWriteItems.
pub(crate) async fn write(
    service: &Operations,
    call: &Call,
    input: api::TransactWriteItemsInput,
) -> Result<api::TransactWriteItemsOutput, Error> {
    request::tables_are_names(&input.transact_items)?;
    let requests: Vec<Request> =
        input.transact_items.iter().map(|item| Request::checked(call, item)).collect::<Result<_, _>>()?;
    if requests.iter().map(|request| request.bytes).sum::<usize>() > TRANSACTION_BYTES_MAX {
        // Text unverified.
        return Err(Error::validation("Aggregate size of the items in the transaction cannot exceed 4 MB"));
    }
    call.authorize(&access::transact_write_items(call, &input))?;
    let token = input.client_request_token.as_deref().map(|token| self::token(call, token, &requests));
    let places = places(service, call, &requests)?;
    let show_old: Vec<bool> = requests.iter().map(|request| request.show_old).collect();
    let actions = requests.into_iter().zip(&places).map(|(request, place)| request.action(place)).collect();
    match transact::transact(&service.log, actions, token).await {
        Ok(done) => Ok(answer(&input, &places, done)),
        Err(TransactRefusal::Canceled(refusals)) => Err(refused(refusals, &show_old)),
        Err(TransactRefusal::OtherRequest) => Err(errors::idempotent_parameter_mismatch(
            "Request was made with the same client token but different parameters",
        )),
        Err(TransactRefusal::NotActive(_)) => Err(error::no_table()),
        Err(TransactRefusal::Log(cause)) => Err(error::refused(cause)),
    }
}

/// Where an action stands: its table and key.
struct Place {
    /// The table as the request names it.
    given: String,
    table: Arc<TableDefinition>,
    key: ItemKey,
}

/// Looks tables up and finds keys; no two actions are on one item.
fn places(service: &Operations, call: &Call, requests: &[Request]) -> Result<Vec<Place>, Error> {
    let mut tables = Vec::with_capacity(requests.len());
    for request in requests {
        tables.push(lookup(service, call, &request.table)?);
    }
    let keys = requests.iter().zip(&tables).map(|(request, table)| request.key(table));
    let keys = sound(keys.collect())?;
    let placed = requests.iter().zip(tables).zip(keys);
    let places: Vec<Place> =
        placed.map(|((request, table), key)| Place { given: request.given.clone(), table, key }).collect();
    distinct(places.iter().map(|place| schema::storage_key(place.table.id, &place.key)))?;
    Ok(places)
}

/// What is wrong with an action in the light of its table.
struct Fault {
    error: Error,
    /// It refuses the request rather than cancel the transaction.
    hoisted: bool,
}

impl Fault {
    fn key(cause: KeyError, put: bool) -> Self {
        let hoisted = matches!(cause, KeyError::Empty { .. });
        Self { error: if put { error::put_key(cause) } else { error::key(cause) }, hoisted }
    }

    fn within(error: Error) -> Self {
        Self { error, hoisted: false }
    }
}

/// What was found for each action; otherwise what refuses the request, wherever it stands, or else the first that cancels
/// the transaction, alone.
fn sound<T>(found: Vec<Result<T, Fault>>) -> Result<Vec<T>, Error> {
    let actions = found.len();
    let (mut sound, mut first) = (Vec::with_capacity(actions), None);
    for (at, one) in found.into_iter().enumerate() {
        match one {
            Ok(one) => sound.push(one),
            Err(Fault { error, hoisted: true }) => return Err(error),
            Err(Fault { error, hoisted: false }) => drop(first.get_or_insert((at, error))),
        }
    }
    let Some((at, error)) = first else { return Ok(sound) };
    let mut reasons: Vec<Reason> = vec![None; actions];
    if let Some(place) = reasons.get_mut(at) {
        *place = Some((error, None));
    }
    Err(canceled(reasons))
}

impl Request {
    fn key(&self, table: &TableDefinition) -> Result<ItemKey, Fault> {
        let key = match &self.deed {
            Deed::Put(row) => {
                let key = schema::row_key(&table.key_schema, row);
                let key = key.map_err(|cause| Fault::within(error::corrupt(cause)))?;
                key.map_err(|cause| Fault::key(cause, true))?
            }
            Deed::Update(key, _) | Deed::Delete(key) | Deed::Check(key) => {
                schema::key_of(&table.key_schema, key).map_err(|cause| Fault::key(cause, false))?
            }
        };
        if let Deed::Update(_, update) = &self.deed {
            updatable(table, update).map_err(Fault::within)?;
        }
        scalar_keys(table, self.condition.as_ref()).map_err(Fault::within)?;
        Ok(key)
    }

    fn action(self, place: &Place) -> TransactAction {
        let (table, key) = (&*place.table, &place.key);
        match (self.deed, self.condition) {
            // A put needs no key attributes: they are in its item.
            (Deed::Put(row), condition) => {
                TransactAction::write(table, key, Item::default(), Action::Put(row), condition)
            }
            (Deed::Update(key_item, update), condition) => {
                TransactAction::write(table, key, key_item, Action::Update(Some(update)), condition)
            }
            (Deed::Delete(key_item), condition) => {
                TransactAction::write(table, key, key_item, Action::Delete, condition)
            }
            (Deed::Check(_), Some(condition)) => TransactAction::check(table, key, condition),
            // The model asks for the condition of a check; one without it would change nothing.
            (Deed::Check(key_item), None) => TransactAction::write(table, key, key_item, Action::Update(None), None),
        }
    }
}

/// Refuses two actions on one item.
fn distinct(keys: impl Iterator<Item = Bytes>) -> Result<(), Error> {
    let mut seen = BTreeSet::new();
    for key in keys {
        if !seen.insert(key) {
            return Err(Error::validation(DUPLICATES));
        }
    }
    Ok(())
}

/// A token belongs to an account and Region; the request is known by all that its actions say.
fn token(call: &Call, token: &str, requests: &[Request]) -> Token {
    let mut name = Vec::new();
    for part in [&*call.principal.account, &*call.region, token] {
        name.extend((part.len() as u64).to_be_bytes());
        name.extend(part.as_bytes());
    }
    let said: Vec<u8> = requests.iter().flat_map(|request| request.said.iter().copied()).collect();
    Token { name: HashKey::of(&name), request: HashKey::of(&said) }
}

/// The refusals of a transaction that was cancelled, as the client sees them.
fn refused(refusals: Vec<Option<Refusal>>, show_old: &[bool]) -> Error {
    let mut reasons = Vec::with_capacity(refusals.len());
    for (refusal, show_old) in refusals.into_iter().zip(show_old) {
        let Some(refusal) = refusal else {
            reasons.push(None);
            continue;
        };
        let hoisted = refusal.refuses_request();
        let item = match &refusal {
            Refusal::ConditionFailed { old: Some(row) } if *show_old => match shown_in_error(row) {
                Ok(item) => Some(item),
                Err(corrupt) => return corrupt,
            },
            _ => None,
        };
        let error = error::refusal(refusal, false);
        if hoisted {
            return error;
        }
        reasons.push(Some((error, item)));
    }
    canceled(reasons)
}

/// TransactionCanceledException with its reasons, in order of the actions.
fn canceled(reasons: Vec<Reason>) -> Error {
    let reasons: Vec<api::CancellationReason> = reasons.into_iter().map(reason).collect();
    let codes: Vec<&str> = reasons.iter().filter_map(|reason| reason.code.as_deref()).collect();
    let message =
        format!("Transaction cancelled, please refer cancellation reasons for specific reasons [{}]", codes.join(", "));
    errors::transaction_canceled(message).with_member("CancellationReasons", reasons)
}

fn reason(against: Reason) -> api::CancellationReason {
    let Some((error, item)) = against else {
        return api::CancellationReason { code: Some("None".to_owned()), ..api::CancellationReason::default() };
    };
    let code = match error.name() {
        "ConditionalCheckFailedException" => "ConditionalCheckFailed",
        "ItemCollectionSizeLimitExceededException" => "ItemCollectionSizeLimitExceeded",
        _ => "ValidationError",
    };
    api::CancellationReason { item, code: Some(code.to_owned()), message: error.message().map(str::to_owned) }
}

fn answer(input: &api::TransactWriteItemsInput, places: &[Place], done: Transacted) -> api::TransactWriteItemsOutput {
    let (used, shown, collections) = match done {
        Transacted::Done(written) => {
            let used = written.iter().map(Used::write).collect::<Vec<_>>();
            (used, Shown::Writes, collections(input, places, &written))
        }
        // A repeated request reads what it would have written.
        Transacted::Replayed(sizes) => {
            let used = sizes.into_iter().map(|size| Used::table(capacity::read_units(size, true)));
            (used.collect(), Shown::Reads, None)
        }
    };
    let mut tables: BTreeMap<&str, Used> = BTreeMap::new();
    for (place, used) in places.iter().zip(used) {
        tables.entry(&place.given).or_default().add(&used.doubled());
    }
    let consumed = tables.iter().filter_map(|(table, used)| used.shown(input.return_consumed_capacity, table, shown));
    let consumed: Vec<_> = consumed.collect();
    api::TransactWriteItemsOutput {
        consumed_capacity: (!consumed.is_empty()).then_some(consumed),
        item_collection_metrics: collections,
    }
}

fn collections(
    input: &api::TransactWriteItemsInput,
    places: &[Place],
    written: &[Written],
) -> Option<BTreeMap<String, Vec<api::ItemCollectionMetrics>>> {
    let mut metrics: BTreeMap<String, Vec<api::ItemCollectionMetrics>> = BTreeMap::new();
    for (place, written) in places.iter().zip(written) {
        let Some(item) = written.new.as_ref().or(written.old.as_ref()).and_then(|row| row.item().ok()) else {
            continue;
        };
        let key = measured(input.return_item_collection_metrics, &place.table, &item);
        if let Some(shown) = collection(key, written) {
            metrics.entry(place.given.clone()).or_default().push(shown);
        }
    }
    (!metrics.is_empty()).then_some(metrics)
}
