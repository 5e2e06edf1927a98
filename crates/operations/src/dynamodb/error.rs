//! From the rooms below to what a client of DynamoDB is told.

use headwater_api::dynamodb::errors;
use headwater_api::{Call, Error, codes};
use headwater_catalog::TableState;
use headwater_table::schema::type_code;
use headwater_table::{IndexKeyError, IndexKeyFault, KeyError, ReadError, Refusal};

use super::item::shown_in_error;

/// ResourceNotFoundException of operations on items.
pub(crate) fn no_table() -> Error {
    errors::resource_not_found("Requested resource not found")
}

/// An operation of the service that this version leaves out.
/// Source: the code is DynamoDB Local's for what it does not do; the text is ours.
pub(crate) fn unsupported(call: &Call) -> Error {
    Error::new(codes::UNKNOWN_OPERATION, format!("This server does not support {} yet", call.operation))
}

/// A change or a look-up of definitions that the log could not do.
///
/// Errors: ThrottlingException when the disk is full, InternalServerError for all that is ours.
pub(crate) fn defining(cause: headwater_log::Error) -> Error {
    match cause {
        headwater_log::Error::NoTable(_) => no_table(),
        other => refused(other),
    }
}

/// A command or a read on items that the log could not do.
///
/// Shape:  a full disk is told by name, as ThrottlingException: clients back off and try again, and whoever reads their
///         log learns why; a closed or failed store is InternalServerError (500, retried too), its cause for our log only.
pub(crate) fn refused(cause: headwater_log::Error) -> Error {
    match cause {
        headwater_log::Error::NoTable(_) => no_table(),
        headwater_log::Error::Full => {
            Error::throttling("The server's disk is full: writes are refused until there is space again")
                .with_cause(cause)
        }
        headwater_log::Error::Closed
        | headwater_log::Error::TooLarge { .. }
        | headwater_log::Error::Invalid(_)
        | headwater_log::Error::Storage(_) => Error::internal(cause),
    }
}

/// An expression that is wrong, or does not fit the item.
pub(crate) fn expression(cause: headwater_expression::Error) -> Error {
    Error::validation(cause.message)
}

/// A write that was not done; the failed condition hands the item out when the request asks for it.
pub(crate) fn refusal(cause: Refusal, show_old: bool) -> Error {
    match cause {
        Refusal::NotActive(state) => not_active(state),
        Refusal::ConditionFailed { old } => {
            let failed = errors::conditional_check_failed("The conditional request failed");
            match old.filter(|_| show_old).map(|row| shown_in_error(&row)).transpose() {
                Ok(Some(item)) => failed.with_member("Item", item),
                Ok(None) => failed,
                Err(corrupt) => corrupt,
            }
        }
        Refusal::ItemTooLarge { update: false } => Error::validation("Item size has exceeded the maximum allowed size"),
        Refusal::ItemTooLarge { update: true } => {
            Error::validation("Item size to update has exceeded the maximum allowed size")
        }
        Refusal::IndexKey { error, update } => index_key(&error, update),
        Refusal::CollectionTooLarge => errors::item_collection_size_limit_exceeded("Collection size exceeded."),
        Refusal::Expression(cause) => expression(cause),
        Refusal::Nesting => Error::validation("Nesting Levels have exceeded supported limits"),
        Refusal::Corrupt => Error::internal("stored bytes are not an item"),
        Refusal::Log(cause) => refused(cause),
    }
}

/// A read that has no answer.
pub(crate) fn read(cause: ReadError) -> Error {
    match cause {
        ReadError::Storage(cause) => refused(cause.into()),
        ReadError::Corrupt => Error::internal("stored bytes are not an item"),
    }
}

/// Stored bytes that are none of ours.
pub(crate) fn corrupt(cause: impl std::fmt::Debug) -> Error {
    Error::internal(format!("stored bytes are not what they should be: {cause:?}"))
}

/// The key of an item that is put.
/// Source: observed by dynalite's tests (putItem).
pub(crate) fn put_key(cause: KeyError) -> Error {
    let detail = match cause {
        KeyError::Missing { name } => format!("Missing the key {name} in the item"),
        KeyError::WrongType { name, expected, actual } => {
            format!("Type mismatch for key {name} expected: {} actual: {actual}", type_code(expected))
        }
        other => return key(other),
    };
    Error::validation(format!("One or more parameter values were invalid: {detail}"))
}

/// A key given for a read, an update or a deletion; also that of an item put by a batch.
/// Source: observed by dynalite's tests (getItem, batchWriteItem).
pub(crate) fn key(cause: KeyError) -> Error {
    Error::validation(match cause {
        KeyError::Missing { .. } | KeyError::WrongType { .. } | KeyError::Mismatch => {
            "The provided key element does not match the schema".to_owned()
        }
        KeyError::Empty { name, binary } => {
            let kind = if binary { "binary" } else { "string" };
            format!(
                "One or more parameter values are not valid. The AttributeValue for a key attribute cannot contain an \
                 empty {kind} value. Key: {name}"
            )
        }
        KeyError::TooLong { range: false } => {
            "One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of2048 bytes"
                .to_owned()
        }
        KeyError::TooLong { range: true } => {
            "One or more parameter values were invalid: Aggregated size of all range keys has exceeded the size limit of \
             1024 bytes"
                .to_owned()
        }
    })
}

/// An item that cannot be in one of its table's indexes.
/// Source: Alternator's tests of the service (test_gsi, test_lsi) and dynamodb-conformance (transactIndexKeys: an update does
///         not name the index of an empty value); of the sizes: unverified.
pub(crate) fn index_key(cause: &IndexKeyError, update: bool) -> Error {
    let IndexKeyError { index, attribute, fault } = cause;
    Error::validation(match fault {
        IndexKeyFault::WrongType { expected, actual } => format!(
            "One or more parameter values were invalid: Type mismatch for Index Key {attribute} Expected: {expected} \
             Actual: {actual} IndexName: {index}"
        ),
        IndexKeyFault::Empty { binary } => {
            let kind = if *binary { "binary" } else { "string" };
            let (what, place) = if update {
                let what = "The update expression attempted to update a secondary index key to a value that is not supported.";
                (what, String::new())
            } else {
                let what = "A value specified for a secondary index key is not supported.";
                (what, format!(" IndexName: {index}, IndexKey: {attribute}"))
            };
            format!(
                "One or more parameter values are not valid. {what} The AttributeValue for a key attribute cannot contain \
                 an empty {kind} value.{place}"
            )
        }
        IndexKeyFault::TooLong { range: false } => {
            "One or more parameter values were invalid: Size of hashkey has exceeded the maximum size limit of2048 bytes"
                .to_owned()
        }
        IndexKeyFault::TooLong { range: true } => {
            "One or more parameter values were invalid: Aggregated size of all range keys has exceeded the size limit of \
             1024 bytes"
                .to_owned()
        }
    })
}

/// A table that is being made or deleted takes no writes.
fn not_active(state: TableState) -> Error {
    match state {
        TableState::Creating | TableState::Deleting => no_table(),
        TableState::Active | TableState::Updating => {
            Error::internal(format!("a table in state {state:?} took no write"))
        }
    }
}
