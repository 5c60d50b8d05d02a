//! The admin port, over plain HTTP.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};

/// Answers the status code and the body.
///
/// # Panics
///
/// Where there is no answer.
#[must_use]
pub fn http(admin: SocketAddr, method: &str, path: &str, body: &str) -> (u16, String) {
    let mut stream = TcpStream::connect(admin).expect("the admin port accepts");
    let head = format!(
        "{method} {path} HTTP/1.1\r\nHost: test\r\nConnection: close\r\nContent-Length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all((head + body).as_bytes()).expect("the request is sent");
    let mut answer = String::new();
    stream.read_to_string(&mut answer).expect("the answer comes");
    let status = answer.split_whitespace().nth(1).and_then(|code| code.parse().ok()).expect("a status");
    let body = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
    (status, body.to_owned())
}

/// The value of a series, such as `name{label="value"}`.
///
/// # Panics
///
/// Where there is none of that name.
#[must_use]
pub fn value(admin: SocketAddr, series: &str) -> f64 {
    let (_, text) = http(admin, "GET", "/metrics", "");
    let line = text.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no series {series}")).parse().expect("a number")
}
