//! The seeded simulator: whole requests against whole nodes in a world where one number decides every schedule and
//! fault, and checkers that judge what the clients saw.
pub mod check;
pub mod history;
pub mod linearize;
pub mod spec;
