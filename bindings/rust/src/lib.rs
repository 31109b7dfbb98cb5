//! A client of dkv, the replicated key-value store.
//!
//! ```no_run
//! # fn main() -> Result<(), dkv::Error> {
//! let identity = dkv::Credentials::read("trust", "app.cert", "app.key")?;
//! let kv = dkv::Client::connect(["127.0.0.1:3000"], identity)?;
//! kv.put("greeting", "hello").wait()?;
//! if let Some(item) = kv.get("greeting").wait()? {
//!     kv.put("greeting", "hi").expected(item.key_revision).wait()?;
//! }
//! # Ok(())
//! # }
//! ```
//!
//! Every write is in a session by itself: it is sent again until its deadline, and executed once.
//! What goes wrong is one of two: [`Error::Rejected`] (it did not happen) or [`Error::Unknown`] (it
//! may have: read before you repeat it).

mod call;
mod client;
mod connection;
mod credentials;
mod engine;
mod error;
mod in_flight;
mod nodes;
mod pending;
mod request;
mod session;
mod wire;

pub use client::Client;
pub use credentials::Credentials;
pub use error::{Applied, Error, Failure, Result, Retry};
pub use pending::Pending;
pub use request::{Deleted, Item, Keys, List, Listing, Read, Status, Write};
