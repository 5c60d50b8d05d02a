//! The shards' listeners: one address, one listener each, and the kernel spreads the connections (SO_REUSEPORT).

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, TcpKeepalive, Type};

use crate::config::SocketOptions;

/// How many unsent bytes the kernel holds for a connection: two frames of the default MAX_MSG_SIZE. What a client's window does not
/// take stays in the log, once for all, where it can be seen to lag; the kernel's own bound would be 4 MiB for each.
const UNSENT_LIMIT: u32 = 128 * 1024;

/// A backlog below this overflows in a burst of reconnects: the clients' SYNs are dropped, and sent again only after a second.
const GOOD_BACKLOG: i32 = 4096;

/// Why there is nothing to accept from.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}")]
pub struct ListenError {
    address: SocketAddr,
    source: io::Error,
}

/// Listens on `address`, `count` times; where its port is 0, all on the one that is found free.
///
/// # Errors
///
/// [`ListenError`], such as for an address in use.
pub fn listen(
    address: SocketAddr,
    count: usize,
    options: &SocketOptions,
) -> Result<Vec<TcpListener>, ListenError> {
    let failed = |source| ListenError { address, source };
    let mut listeners = Vec::with_capacity(count);
    let mut actual = address;
    for _ in 0..count {
        let listener = listen_once(actual, options).map_err(failed)?;
        actual = listener.local_addr().map_err(failed)?;
        listeners.push(listener);
    }
    let backlog = effective_backlog(options.backlog);
    if backlog < GOOD_BACKLOG {
        tracing::warn!(
            backlog,
            "connections that wait to be accepted are bounded too tightly for a burst of reconnects; raise LISTEN_BACKLOG and the \
             kernel's net.core.somaxconn to {GOOD_BACKLOG} or more"
        );
    }
    Ok(listeners)
}

/// Every option is set here, on the listener: on Linux, accepted sockets inherit them, and accepting costs no further calls.
fn listen_once(address: SocketAddr, options: &SocketOptions) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM.nonblocking(), Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(true)?;
    socket.set_tcp_nodelay(true)?;
    let keepalive =
        TcpKeepalive::new().with_time(options.keepalive).with_interval(probe_interval(options.keepalive));
    socket.set_tcp_keepalive(&keepalive)?;
    socket.set_tcp_user_timeout(Some(options.user_timeout))?;
    socket.set_tcp_notsent_lowat(UNSENT_LIMIT)?;
    socket.bind(&address.into())?;
    socket.listen(options.backlog)?;
    Ok(socket.into())
}

/// Probes that are not answered are repeated a third of the idle time apart.
fn probe_interval(keepalive: Duration) -> Duration {
    (keepalive / 3).max(Duration::from_secs(1))
}

/// What the kernel makes of the backlog asked for.
#[must_use]
pub fn effective_backlog(asked: i32) -> i32 {
    let bound = std::fs::read_to_string("/proc/sys/net/core/somaxconn")
        .ok()
        .and_then(|text| text.trim().parse().ok());
    asked.min(bound.unwrap_or(asked))
}

#[cfg(test)]
mod tests {
    use super::*;
    use socket2::SockRef;
    use std::net::TcpStream;

    const OPTIONS: SocketOptions = SocketOptions {
        backlog: 64,
        keepalive: Duration::from_secs(30),
        user_timeout: Duration::from_secs(20),
    };

    #[test]
    fn accepted_sockets_have_every_option_without_being_told() {
        let listener = listen(([127, 0, 0, 1], 0).into(), 1, &OPTIONS).unwrap().remove(0);
        listener.set_nonblocking(false).unwrap();
        let _client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (accepted, _) = listener.accept().unwrap();
        let socket = SockRef::from(&accepted);
        assert!(socket.tcp_nodelay().unwrap());
        assert!(socket.keepalive().unwrap());
        assert_eq!(socket.tcp_keepalive_time().unwrap(), Duration::from_secs(30));
        assert_eq!(socket.tcp_user_timeout().unwrap(), Some(Duration::from_secs(20)));
        assert_eq!(socket.tcp_notsent_lowat().unwrap(), UNSENT_LIMIT);
    }

    #[test]
    fn all_listeners_share_the_port_that_was_found_free() {
        let listeners = listen(([127, 0, 0, 1], 0).into(), 3, &OPTIONS).unwrap();
        let ports: Vec<_> = listeners.iter().map(|listener| listener.local_addr().unwrap().port()).collect();
        assert_ne!(ports[0], 0);
        assert!(ports.iter().all(|port| *port == ports[0]));
    }

    #[test]
    fn an_address_that_is_not_ours_is_an_error_that_names_it() {
        let error = listen(([192, 0, 2, 1], 21591).into(), 1, &OPTIONS).unwrap_err();
        assert_eq!(error.to_string(), "cannot listen on 192.0.2.1:21591");
    }
}
