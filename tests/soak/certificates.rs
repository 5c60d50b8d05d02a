//! The server's certificate changes, and its clients do not notice.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tickwire_client::{Client, Event, Mode, Request, Tls};
use tickwire_tests::pki::{Authority, Folder, Pair};
use tickwire_tests::trust::trust;
use tickwire_tests::{PATIENCE, Raw, TestServer, eventually};
use tokio::task::JoinSet;

const CLIENTS: usize = 1_000;
const CHANGES: usize = 10;

/// Which of the changes cannot be used.
const BROKEN: usize = 5;

/// Follows the stream over one connection until `done`. Answers how many ticks came, each of which continued the one before.
async fn follow(client: Client, done: Arc<AtomicBool>) -> u64 {
    let mut subscription = client.subscribe(Request::new(Mode::Tick));
    let (mut next, mut ticks) = (None, 0);
    loop {
        let event = tokio::time::timeout(PATIENCE, subscription.next()).await.expect("something comes");
        match event.expect("no gap, no repeat, nothing lost") {
            Event::Connected { first, .. } => {
                assert_eq!(next, None, "one connection is enough");
                next = Some(first);
            }
            Event::Batch(batch) => {
                assert_eq!(Some(batch.first_sequence), next);
                next = Some(batch.last_sequence + 1);
                ticks += batch.len as u64;
                if done.load(Ordering::Relaxed) {
                    return ticks;
                }
            }
            other => panic!("{other:?}"),
        }
    }
}

/// The certificate that a new connection is shown.
fn shown(server: &TestServer, authority: &Authority) -> CertificateDer<'static> {
    let mut raw = Raw::tls(server.addr, &trust(authority, None));
    raw.authenticate();
    raw.stream.conn.peer_certificates().expect("a certificate")[0].clone().into_owned()
}

fn der(pair: &Pair) -> CertificateDer<'static> {
    CertificateDer::from_pem_slice(pair.certificate.as_bytes()).expect("PEM")
}

#[test]
fn a_thousand_clients_live_through_ten_certificates_and_new_ones_get_the_new_one() {
    let authority = Authority::new("Tickwire test");
    let issue = || authority.server(&["localhost", "127.0.0.1"]);
    let mut current = issue();
    let folder = Folder::new(&current, &authority);
    let server = TestServer::start(&[&folder.server_flags()[..], &["--feed-rate", "20"]].concat());
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let done = Arc::new(AtomicBool::new(false));
    let mut clients = JoinSet::new();
    for _ in 0..CLIENTS {
        let tls = Tls::builder().ca_file(folder.ca()).build().expect("the authority's certificate is good");
        clients.spawn_on(follow(server.client().tls(tls), done.clone()), runtime.handle());
    }
    eventually("all have subscribed", || {
        server.metric("tickwire_subscriptions{stream=\"tick\"}") == CLIENTS as f64
    });
    let reloads = |result: &str| {
        server.metric(&format!("tickwire_reloads_total{{result=\"{result}\",source=\"tls\"}}"))
    };
    let (mut good, mut bad) = (0.0, 0.0);
    for change in 1..=CHANGES {
        let mut next = issue();
        if change == BROKEN {
            next.key = issue().key;
            bad += 1.0;
        } else {
            current = next.clone();
            good += 1.0;
        }
        folder.swap(&next, &authority);
        eventually("it has been read", || (reloads("ok"), reloads("error")) == (good, bad));
        assert!(shown(&server, &authority) == der(&current), "after change {change}");
    }
    assert_eq!((good, bad), (9.0, 1.0));
    assert!(server.connections() >= CLIENTS as i64);
    done.store(true, Ordering::Relaxed);
    let ticks = runtime.block_on(clients.join_all());
    assert_eq!(ticks.len(), CLIENTS);
    assert!(ticks.iter().all(|ticks| *ticks > 0));
}
