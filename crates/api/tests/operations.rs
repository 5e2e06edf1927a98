//! Promise: every operation of the four models can be called, refuses what its model refuses, and answers nothing before
//! it was authorised. Method: the routing of each API over services that answer in a known way.

// clippy allows `unwrap` in test functions only; what they share may panic as well.
#![allow(clippy::unwrap_used)]

mod operations {
    pub mod access;
    pub mod every;
    pub mod garbage;
    pub mod replies;
    pub mod service;
}
