//! The floor: what the kernel alone asks for a delivery. One thread writes the same bytes to N loopback sockets, a process of its own
//! reads them.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use crate::process::succeed;

/// Where the reading side runs; the writing side, floor or server, has [`WRITER_CORE`].
const READER_CORE: &str = "1";
pub(super) const WRITER_CORE: &str = "0";

/// The CPU time of one send, in microseconds: `rounds` times to each of `connections`, of `size` bytes; so many rounds a second, or without
/// a pause.
pub(super) fn measure(connections: usize, size: usize, per_second: Option<f64>, rounds: u32) -> Result<f64> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?.to_string();
    let mut reader = reader(&address, connections, None)?;
    let mut sockets = Vec::with_capacity(connections);
    for _ in 0..connections {
        let (socket, _) = listener.accept()?;
        socket.set_nodelay(true)?;
        sockets.push(socket);
    }
    // As the server is: on a core of its own.
    succeed(Command::new("taskset").args(["-p", "-c", WRITER_CORE, &thread_id()?]).stdout(Stdio::null()))?;
    let bytes = vec![0; size];
    let (start, cpu) = (Instant::now(), thread_cpu()?);
    for round in 0..rounds {
        if let Some(per_second) = per_second {
            let due = start + Duration::from_secs_f64(f64::from(round) / per_second);
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        }
        for socket in &mut sockets {
            socket.write_all(&bytes)?;
        }
    }
    let cpu = thread_cpu()? - cpu;
    drop(sockets);
    reader.wait()?;
    Ok(cpu.as_secs_f64() * 1e6 / (connections as f64 * f64::from(rounds)))
}

/// Starts a process that connects so often to `address`, says `hello` on each connection if there is something to say, and reads until all are
/// closed: the same for a server and for the floor beneath it.
pub(super) fn reader(address: &str, connections: usize, hello: Option<&Path>) -> Result<Child> {
    let mut command = Command::new("taskset");
    command.args(["-c", READER_CORE]).arg(std::env::current_exe()?).args([
        "floor-reader",
        address,
        &connections.to_string(),
    ]);
    command.args(hello).stdin(Stdio::null());
    command.spawn().context("cannot run taskset")
}

/// The body of such a process.
pub(crate) fn read(address: SocketAddr, connections: usize, hello: Option<&Path>) -> Result<()> {
    use rustix::event::epoll;
    let hello = hello.map(std::fs::read).transpose()?.unwrap_or_default();
    let poll = epoll::create(epoll::CreateFlags::CLOEXEC)?;
    let mut sockets = Vec::with_capacity(connections);
    for n in 0..connections {
        let mut socket = TcpStream::connect(address)?;
        socket.write_all(&hello)?;
        socket.set_nonblocking(true)?;
        epoll::add(&poll, &socket, epoll::EventData::new_u64(n as u64), epoll::EventFlags::IN)?;
        sockets.push(socket);
    }
    let mut events = Vec::with_capacity(512);
    let mut buffer = vec![0; 65_536];
    let mut open = connections;
    while open > 0 {
        events.clear();
        epoll::wait(&poll, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            let mut socket = &sockets[usize::try_from(event.data.u64())?];
            if matches!(socket.read(&mut buffer), Ok(0)) {
                epoll::delete(&poll, socket)?;
                open -= 1;
            }
        }
    }
    Ok(())
}

fn thread_id() -> Result<String> {
    let link = std::fs::read_link("/proc/thread-self")?;
    Ok(link.file_name().context("a thread has a number")?.to_string_lossy().into_owned())
}

fn thread_cpu() -> Result<Duration> {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat")?;
    let nanos = text.split_whitespace().next().context("no time in schedstat")?;
    Ok(Duration::from_nanos(nanos.parse()?))
}
