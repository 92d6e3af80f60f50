//! Chaos with an auditor: `./dev chaos` starts several processes for each role of visavis, puts them under load, and
//! breaks what can break on a schedule that a seed draws. When the load has ended and everything is whole again, an
//! auditor holds the database against what producers and receivers saw.
//!
//! Nothing here uses the product's code: the auditor must not share its errors.

pub mod amqp;
pub mod auditor;
pub mod blobs;
pub mod books;
pub mod drain;
pub mod faults;
pub mod fleet;
pub mod http;
pub mod organisations;
pub mod photos;
pub mod plan;
pub mod poison;
pub mod proxy;
pub mod receivers;
pub mod report;
pub mod requests;
pub mod run;
pub mod services;
pub mod spoil;
pub mod stream;
pub mod witness;

use std::sync::{Mutex, MutexGuard, PoisonError};

/// The lock, whatever happened to its last holder.
pub(crate) fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
