//! Forks and snapshots through the served APIs.
