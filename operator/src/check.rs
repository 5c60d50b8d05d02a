//! `tickwire-operator check`: asks an address, for tests in images without a shell.

use std::time::{Duration, Instant};

/// Between two attempts.
const PAUSE: Duration = Duration::from_millis(500);
/// How long one attempt may take.
const TIMEOUT: Duration = Duration::from_secs(3);

/// Nobody has answered 200 in time.
#[derive(Debug, thiserror::Error)]
pub enum CheckError {
    /// No HTTP client could be made.
    #[error("cannot ask")]
    Client(#[source] reqwest::Error),
    /// What came last.
    #[error("{url} has not answered 200 within {within:?}; the last answer: {last}")]
    TooLate {
        /// What was asked.
        url: String,
        /// For how long.
        within: Duration,
        /// A status and a text, or an error.
        last: String,
    },
}

/// Asks until it answers 200, for at most `within`. Cancel-safe.
///
/// # Errors
///
/// Where it has not by then.
pub async fn check(url: &str, within: Duration) -> Result<(), CheckError> {
    let client =
        reqwest::Client::builder().timeout(TIMEOUT).no_proxy().build().map_err(CheckError::Client)?;
    let start = Instant::now();
    loop {
        let last = match client.get(url).send().await {
            Ok(response) if response.status() == reqwest::StatusCode::OK => {
                println!("{url} answers {}", response.status());
                return Ok(());
            }
            Ok(response) => {
                let status = response.status();
                format!("{status} {}", response.text().await.unwrap_or_default().trim())
            }
            Err(error) => error.to_string(),
        };
        if start.elapsed() >= within {
            return Err(CheckError::TooLate { url: url.to_owned(), within, last });
        }
        tokio::time::sleep(PAUSE).await;
    }
}
