//! Cases as data: requests with the answers they must get, replayable against anything that speaks the two APIs.
//!
//! A case file is a JSON list of `{name, source, requires?, setup?, steps}`. `setup` names tables of
//! `cases/fixtures/tables.json`. `requires` says where it makes sense: `headwater` (a documented difference, or timing of
//! ours), `empty` (no other tables), `control` (moves time or shards). A step is one of
//! - `{operation, request, answer | includes | error, save?, unordered?, wait?}`: `answer` is compared whole, `includes`
//!   member by member, `error` is `{code, message?, contains?, members?}`; `save` keeps parts of the answer by JSON pointer;
//!   `wait` waits until that table is ACTIVE (`"gone"`: until the case's table is not there any more);
//! - `{records: […], stream?}`: all records of the table's newest stream, in order per item;
//! - `{advance_ms}` and `{control: "split" | "roll_over"}`.
//!
//! In requests `{"$repeat": [text, n]}`, `{"$list": [n, template with $i]}` and `{"$nest": [n, "L", value]}` stand for
//! what is too long to write. `$table`, `$arn`, `$region`, `$account`, `$host` and saved names are replaced everywhere.

pub mod expand;
pub mod matching;
pub mod runner;
