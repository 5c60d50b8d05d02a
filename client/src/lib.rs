//! The Tickwire client library.
//!
//! ```text
//! Client::subscribe → task: connect, TLS if asked for, AUTH, SUBSCRIBE → batches, each proven to continue the one before → Subscription::next
//!                       └── connection lost, or the server drains: resume, elsewhere if there is an elsewhere
//! ```
//!
//! ```no_run
//! use tickwire_client::{Client, Credentials, Event, Mode, Request};
//!
//! # async fn example() -> Result<(), Box<dyn std::error::Error>> {
//! let client = Client::new(["ticks.example.com:21591"], Credentials::new("tickwire", "secret"));
//! let mut subscription = client.subscribe(Request::new(Mode::Second).symbols(["BTCUSDT"]));
//! loop {
//!     if let Event::Batch(batch) = subscription.next().await? {
//!         for tick in batch.ticks()? {
//!             println!("{} {}", tick.symbol, tick.close);
//!         }
//!     }
//! }
//! # }
//! ```

pub mod client;
pub mod subscription;
pub mod tls;
pub mod link;
pub mod batch;
pub mod continuity;
pub mod backoff;
pub mod error;

pub use batch::Batch;
pub use client::{Client, Credentials, Request};
pub use continuity::{Continuity, Discontinuity};
pub use error::{Error, LinkError, ServerError};
pub use link::{ConnectOptions, Link};
pub use subscription::{Event, Subscription};
pub use tickwire_proto::message::{ErrorCode, Mode, Resume, Tick};
pub use tls::{Tls, TlsError, TlsFailure};
