//! Archive runs: what is wanted of the log stays readable while the rest is given back, wherever the power fails.
#![allow(clippy::unwrap_used, reason = "a test may end here")]

mod damage;
mod power_loss;
mod reading;
mod space;
mod store;
