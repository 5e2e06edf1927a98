//! Cases as data: requests with the answers they must get, replayable against anything that speaks the APIs.
//!
//! A case file is a JSON list of `{name, source, requires?, setup?, steps}`. `source` says where the service's answer is
//! known from, or `unverified`. `setup` names tables of `fixtures/tables.json`. `requires` says where it makes sense:
//! `headwater` (a documented difference, or timing of ours), `empty` (no other tables), `control` (moves time or shards),
//! `standstill` (short states last until the case moves time, which no endpoint can promise).
//! A step may have a `requires` of its own, and is left out elsewhere. It is one of
//! - `{operation, request, answer | includes | error, save?, unordered?, wait?}`: `answer` is compared whole, `includes`
//!   member by member, `error` is `{code, message?, contains?, members?}`; `save` keeps parts of the answer by JSON pointer;
//!   `wait` waits until that table and its indexes are ACTIVE (`"gone"`: until the case's table is not there any more),
//!   and any step but a DescribeTable waits until the table that was changed last, other than in its indexes, is ACTIVE
//!   or gone;
//!   Operations of Kinesis are written `kinesis:PutRecord`; any step waits until the data stream that was changed last and
//!   its consumers are ACTIVE or gone;
//! - `{records: […], stream?}`: all records of the table's newest stream, in order per item;
//! - `{advance_ms}`: store time passes, and changes of indexes and of expiry come to their end (an endpoint without a
//!   control API does only that). Over HTTP what follows from it comes a moment later: reads after it are repeated;
//! - `{control: "split" | "roll_over"}`.
//!
//! In requests `{"$repeat": [text, n]}`, `{"$list": [n, template with $i]}` and `{"$nest": [n, "L", value]}` stand for
//! what is too long to write. `$table` (the name of a table or of a data stream), `$arn`, `$kinesis` (the stream's ARN),
//! `$region`, `$account`, `$host` and saved names are replaced everywhere.
//!
//! Owns: reading, expanding, running and judging cases; signed HTTP to an endpoint. In: case files, a [`Target`].
//! Out: which cases passed, and for the others where the answer differs. Never: any room of the server.

#![allow(clippy::disallowed_methods, reason = "a client on the real clock")]

#[cfg(feature = "http")]
pub mod control;
pub mod expand;
pub mod files;
#[cfg(feature = "http")]
pub mod http;
pub mod matching;
#[cfg(feature = "http")]
pub mod remote;
pub mod runner;
#[cfg(feature = "http")]
pub mod signature;

pub use expand::{Names, expand};
pub use files::{Case, Cases};
pub use runner::{Run, Target};
