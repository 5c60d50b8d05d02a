//! A subscription that outlives its connections: it resumes where it was, and tells what it could not.
//!
//! What is tried in vain ends it, but for one thing: where TLS fails with a server, it may be because certificates are renewed, and not everywhere
//! at once. A subscription that has been connected before, or has not yet tried all of its addresses, tries again as after a lost connection.

use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tickwire_proto::message::ErrorCode;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::{Instant, Interval, MissedTickBehavior, interval_at, sleep_until};

use crate::backoff::Backoff;
use crate::batch::Batch;
use crate::client::{Client, Request};
use crate::continuity::Continuity;
use crate::error::{Error, LinkError, ServerError};
use crate::link::{Incoming, Link, Opening};

/// How many events wait for a caller that is busy; then reading stops, and the server sees a slow consumer.
const EVENTS: usize = 64;

/// What happens to a subscription.
#[derive(Debug)]
pub enum Event {
    /// A batch that continues the one before. Batches whose range is empty are not handed on.
    Batch(Batch),
    /// A connection took the stream up.
    Connected {
        /// Where to.
        address: String,
        /// The first sequence that follows.
        first: u64,
    },
    /// The connection was lost, or there was none.
    Disconnected {
        /// From where, or where none could be made.
        address: String,
        /// Why.
        error: LinkError,
        /// When the next one is tried.
        retry_in: Duration,
    },
    /// The server is about to leave. Nothing is lost: the stream is taken up elsewhere first.
    Draining {
        /// When.
        leave_in: Duration,
    },
}

/// A stream of batches, each of which is proven to continue the one before.
#[derive(Debug)]
pub struct Subscription {
    events: mpsc::Receiver<Result<Event, Error>>,
    task: JoinHandle<()>,
}

impl Subscription {
    pub(crate) fn start(client: Client, request: Request) -> Self {
        let (sender, events) = mpsc::channel(EVENTS);
        let continuity = Continuity::after(request.resume);
        let backoff = Backoff::new(client.timing.min_backoff, client.timing.max_backoff);
        let follower = Follower {
            client,
            request,
            continuity,
            backoff,
            events: sender,
            next_address: 0,
            tried: String::new(),
            connected: false,
        };
        Self { events, task: tokio::spawn(follower.run()) }
    }

    /// Waits for what happens next.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// [`Error`]; unless [`is_final`](Error::is_final), the subscription goes on.
    pub async fn next(&mut self) -> Result<Event, Error> {
        self.events.recv().await.unwrap_or(Err(Error::Gone))
    }

    /// Whether [`next`](Self::next) would have to wait.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.events.is_empty()
    }

    /// Waits for the next batch, whatever happens in between.
    ///
    /// Cancel-safe.
    ///
    /// # Errors
    ///
    /// As [`next`](Self::next).
    pub async fn next_batch(&mut self) -> Result<Batch, Error> {
        loop {
            if let Event::Batch(batch) = self.next().await? {
                return Ok(batch);
            }
        }
    }
}

impl futures_core::Stream for Subscription {
    type Item = Result<Event, Error>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.events.poll_recv(context)
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// The caller has dropped the subscription.
struct CallerGone;

/// The task behind a subscription.
struct Follower {
    client: Client,
    request: Request,
    continuity: Continuity,
    backoff: Backoff,
    events: mpsc::Sender<Result<Event, Error>>,
    /// Which of the addresses is tried next; it counts on, so that it also tells whether all have been tried.
    next_address: usize,
    /// The address of the last connection that failed, or is being made.
    tried: String,
    /// Whether a server has taken the stream up before.
    connected: bool,
}

/// Why reading from a link ended.
enum Left {
    /// It failed.
    Failed(LinkError),
    /// It broke the numbering, which has been told.
    Broken,
    /// Its server drains, and another link has been subscribed.
    Moved(Box<Link>, Opening),
}

/// A connection that is being made.
type Connecting = Pin<Box<dyn Future<Output = Result<Link, LinkError>> + Send>>;

impl Follower {
    async fn run(mut self) {
        // Ending because nobody listens needs no words.
        let _gone = self.follow().await;
    }

    async fn follow(&mut self) -> Result<(), CallerGone> {
        loop {
            let mut left = match self.open().await {
                Ok((link, opening)) => Left::Moved(Box::new(link), opening),
                Err(error) => Left::Failed(error),
            };
            while let Left::Moved(link, opening) = left {
                left = self.take_up(*link, opening).await?;
            }
            if let Left::Failed(error) = left {
                if self.is_final(&error) {
                    return self.tell(Err(Error::Ended(error))).await;
                }
                let retry_in = error.retry_after().unwrap_or_else(|| self.backoff.wait());
                let address = self.tried.clone();
                self.tell(Ok(Event::Disconnected { address, error, retry_in })).await?;
                tokio::time::sleep(retry_in).await;
            }
        }
    }

    /// Whether a failure ends the subscription. Whether certificates fit together may change, and differ between servers: that they do not is final
    /// only where no server has shown that they can.
    fn is_final(&self, error: &LinkError) -> bool {
        let all_tried = self.next_address >= self.client.addresses.len();
        error.is_final() && (!error.is_of_tls() || (!self.connected && all_tried))
    }

    /// Connects to the next address in turn, and subscribes after the position that has been reached.
    async fn open(&mut self) -> Result<(Link, Opening), LinkError> {
        let mut link = self.connect().await?;
        let opening = link.subscribe(&self.request.message(self.continuity.position())).await?;
        Ok((link, opening))
    }

    /// A connection to the next address in turn, owing nothing to `self`.
    fn connect(&mut self) -> Connecting {
        let addresses = &self.client.addresses;
        let address = addresses[self.next_address % addresses.len()].clone();
        let options = self.client.connect_options();
        self.next_address += 1;
        self.tried.clone_from(&address);
        Box::pin(async move { Link::connect(&address, &options).await })
    }

    /// Proves that a link starts where the one before ended, and hands its batches on.
    async fn take_up(&mut self, link: Link, opening: Opening) -> Result<Left, CallerGone> {
        let Opening { epoch, first, unavailable, draining } = opening;
        if let Some(reason) = unavailable {
            self.lose(reason).await?;
        }
        if let Err(broken) = self.continuity.check(epoch, first, first - 1) {
            self.tell(Err(broken.into())).await?;
            tokio::time::sleep(self.backoff.wait()).await;
            return Ok(Left::Broken);
        }
        self.backoff.reset();
        self.connected = true;
        let address = link.address().to_owned();
        self.tell(Ok(Event::Connected { address: address.clone(), first })).await?;
        let left = self.read(link, draining).await?;
        // Another may have been tried meanwhile, to follow this one.
        self.tried = address;
        Ok(left)
    }

    /// Hands a link's batches on until it ends; where its server drains, until another has been subscribed.
    async fn read(&mut self, mut link: Link, draining: Option<ServerError>) -> Result<Left, CallerGone> {
        let timing = self.client.timing;
        let mut heartbeat = interval_at(Instant::now() + timing.heartbeat, timing.heartbeat);
        heartbeat.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut heard = Instant::now();
        let mut leave_at: Option<Instant> = None;
        if let Some(notice) = draining {
            leave_at = self.announce(&notice).await?;
        }
        let mut successor: Option<Connecting> = None;
        loop {
            // Each branch may be dropped when another comes: frames in part are kept by the link, and the interval, the deadlines and the
            // successor by their owners outside.
            let incoming = tokio::select! {
                incoming = link.next() => incoming,
                _ = heartbeat.tick() => {
                    if let Err(error) = link.heartbeat().await {
                        return Ok(Left::Failed(error));
                    }
                    continue;
                }
                () = sleep_until(heard + timing.silence) => {
                    let address = link.address().to_owned();
                    return Ok(Left::Failed(LinkError::Timeout { what: "frame", address, within: timing.silence }));
                }
                () = wait_for(leave_at) => {
                    leave_at = None;
                    successor = Some(self.connect());
                    continue;
                }
                connected = established(&mut successor) => {
                    successor = None;
                    match self.succeed(connected).await {
                        Ok((next, opening)) => return Ok(Left::Moved(Box::new(next), opening)),
                        // There may be no other server yet; this one is still there.
                        Err(retry_after) => {
                            // What one asks for is not for another, which is tried next.
                            let retry_after = retry_after.filter(|_| self.client.addresses.len() == 1);
                            leave_at = Some(Instant::now() + retry_after.unwrap_or_else(|| self.backoff.wait()));
                        }
                    }
                    continue;
                }
            };
            heard = Instant::now();
            match incoming {
                Ok(Incoming::Heartbeat) => {}
                Ok(Incoming::Batch(batch)) => {
                    if let Err(broken) = self.continuity.check_batch(&batch) {
                        self.tell(Err(broken.into())).await?;
                        tokio::time::sleep(self.backoff.wait()).await;
                        return Ok(Left::Broken);
                    }
                    if batch.last_sequence >= batch.first_sequence
                        && let Some(error) = self.hand_on(batch, &mut link, &mut heartbeat).await?
                    {
                        return Ok(Left::Failed(error));
                    }
                    // The caller may have taken its time; that was not the server's silence.
                    heard = Instant::now();
                }
                // It waited for the position that was asked for, in vain: a new opening follows.
                Ok(Incoming::Notice(notice)) if notice.code() == Some(ErrorCode::ResumeUnavailable) => {
                    self.lose(notice).await?;
                }
                Ok(Incoming::Notice(notice)) if notice.code() == Some(ErrorCode::Draining) => {
                    leave_at = self.announce(&notice).await?;
                }
                Ok(Incoming::Notice(notice)) => return Ok(Left::Failed(notice.into())),
                Err(error) => {
                    // The next one is nearly there: no need to begin anew.
                    if let Some(connecting) = successor
                        && let Ok(mut next) = connecting.await
                        && let Ok(opening) =
                            next.subscribe(&self.request.message(self.continuity.position())).await
                    {
                        return Ok(Left::Moved(Box::new(next), opening));
                    }
                    return Ok(Left::Failed(error));
                }
            }
        }
    }

    /// Subscribes on the link that is to follow one whose server drains; nothing is read from that one any more, so that the new one takes up
    /// right after what has been handed on. One that cannot do so is no successor while the old one lives; then this answers how long it asks
    /// to wait, if it does.
    async fn succeed(
        &mut self,
        connected: Result<Link, LinkError>,
    ) -> Result<(Link, Opening), Option<Duration>> {
        let asks = |error: LinkError| error.retry_after();
        let mut link = connected.map_err(asks)?;
        let opening =
            link.subscribe(&self.request.message(self.continuity.position())).await.map_err(asks)?;
        if opening.unavailable.is_some() { Err(None) } else { Ok((link, opening)) }
    }

    /// Hands a batch on; while the caller is busy, the server still gets its heartbeats.
    async fn hand_on(
        &mut self,
        batch: Batch,
        link: &mut Link,
        heartbeat: &mut Interval,
    ) -> Result<Option<LinkError>, CallerGone> {
        loop {
            // There is no other sender whose turn could come when the wait for room is begun anew.
            tokio::select! {
                room = self.events.reserve() => {
                    room.map_err(|_| CallerGone)?.send(Ok(Event::Batch(batch)));
                    return Ok(None);
                }
                _ = heartbeat.tick() => if let Err(error) = link.heartbeat().await {
                    return Ok(Some(error));
                }
            }
        }
    }

    /// Tells that what follows the position cannot be had, and forgets it.
    async fn lose(&mut self, reason: ServerError) -> Result<(), CallerGone> {
        let after_sequence = self.continuity.position().map_or(0, |position| position.after_sequence);
        self.continuity.forget();
        self.tell(Err(Error::Lost { after_sequence, reason })).await
    }

    /// Tells that the server is about to leave, and when to.
    async fn announce(&mut self, notice: &ServerError) -> Result<Option<Instant>, CallerGone> {
        let leave_in = notice.retry_after.unwrap_or_default();
        self.tell(Ok(Event::Draining { leave_in })).await?;
        Ok(Some(Instant::now() + leave_in))
    }

    async fn tell(&self, event: Result<Event, Error>) -> Result<(), CallerGone> {
        self.events.send(event).await.map_err(|_| CallerGone)
    }
}

/// Waits for the connection that is being made, or for ever where none is.
async fn established(connecting: &mut Option<Connecting>) -> Result<Link, LinkError> {
    match connecting {
        Some(connecting) => connecting.await,
        None => std::future::pending().await,
    }
}

/// Waits for the moment, or for ever where there is none.
async fn wait_for(moment: Option<Instant>) {
    match moment {
        Some(moment) => sleep_until(moment).await,
        None => std::future::pending().await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::Credentials;
    use tickwire_proto::message::Mode;

    fn follower(addresses: &[&str]) -> Follower {
        let client = Client::new(addresses.iter().copied(), Credentials::new("tester", "secret"));
        let backoff = Backoff::new(client.timing.min_backoff, client.timing.max_backoff);
        Follower {
            client,
            request: Request::new(Mode::Tick),
            continuity: Continuity::after(None),
            backoff,
            events: mpsc::channel(EVENTS).0,
            next_address: 0,
            tried: String::new(),
            connected: false,
        }
    }

    #[test]
    fn trouble_with_certificates_ends_only_a_subscription_that_was_never_connected_and_has_tried_all() {
        let bad_certificate = || LinkError::ServerName { host: "not a name".into() };
        let refused = || LinkError::Unexpected("nonsense".into());
        for (addresses, tried, connected, ends) in [
            (&["a:1"][..], 1, false, true),
            (&["a:1"], 2, true, false),
            (&["a:1", "b:1"], 1, false, false),
            (&["a:1", "b:1"], 2, false, true),
            (&["a:1", "b:1"], 3, true, false),
        ] {
            let follower = Follower { next_address: tried, connected, ..follower(addresses) };
            assert_eq!(follower.is_final(&bad_certificate()), ends, "{addresses:?} {tried} {connected}");
            assert_eq!(follower.is_final(&LinkError::TlsExpected), ends);
            assert!(follower.is_final(&refused()), "nobody else would understand it either");
            assert!(!follower.is_final(&LinkError::Closed));
        }
    }
}
