//! Has a server send some of its clients away.

/// The most that is shown of what a server answers, in bytes.
const MAX_SHOWN: usize = 200;

/// A server does not send clients away.
#[derive(Debug, thiserror::Error)]
pub enum ShedError {
    /// It has not answered.
    #[error("it does not answer")]
    Unreachable(#[from] reqwest::Error),
    /// It says no.
    #[error("it answers {status}: {text}")]
    Refused {
        /// Why, in a number; 404: its version does not know how to.
        status: reqwest::StatusCode,
        /// And in words.
        text: String,
    },
}

/// Asks the server whose admin port is there to send so many clients away, and so many in a second. What was asked before and is not done yet, it forgets. How
/// long the answer may take is the client's matter. Cancelled, it may have been asked.
///
/// # Errors
///
/// Where it does not.
pub async fn shed(
    http: &reqwest::Client,
    address: &str,
    connections: u64,
    per_second: u64,
) -> Result<(), ShedError> {
    let url = format!("http://{address}/shed?connections={connections}&per_second={per_second}");
    let response = http.post(url).send().await?;
    let status = response.status();
    if status.is_success() {
        return Ok(());
    }
    let text = response.text().await.unwrap_or_default();
    let text = text.trim();
    Err(ShedError::Refused { status, text: text[..text.floor_char_boundary(MAX_SHOWN)].to_owned() })
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;
    use std::sync::{Arc, Mutex};

    use axum::Router;
    use axum::extract::Query;
    use axum::http::StatusCode;
    use axum::routing::{get, post};
    use tokio::net::TcpListener;
    use tokio::task::JoinHandle;

    use super::*;
    use crate::connections::ask;

    fn http() -> reqwest::Client {
        // Another test may have been faster.
        let _installed = rustls::crypto::ring::default_provider().install_default();
        reqwest::Client::new()
    }

    /// A pod's admin port, and what it was asked.
    struct FakePod {
        address: String,
        asked: Arc<Mutex<Vec<BTreeMap<String, String>>>>,
        serving: JoinHandle<()>,
    }

    impl Drop for FakePod {
        fn drop(&mut self) {
            self.serving.abort();
        }
    }

    impl FakePod {
        async fn answering(status: StatusCode, text: &'static str) -> Self {
            let asked = Arc::<Mutex<Vec<_>>>::default();
            let kept = Arc::clone(&asked);
            let router = Router::new().route("/metrics", get(async || "active_connections 12\n")).route(
                "/shed",
                post(async move |Query(query): Query<BTreeMap<String, String>>| {
                    kept.lock().unwrap().push(query);
                    (status, text)
                }),
            );
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap().to_string();
            let serving = tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
            Self { address, asked, serving }
        }
    }

    #[tokio::test]
    async fn a_server_is_asked_for_its_connections_and_to_send_some_away() {
        let pod = FakePod::answering(StatusCode::ACCEPTED, "sheds 5 clients\n").await;
        let http = http();
        assert_eq!(ask(&http, &pod.address).await, Some(12));
        shed(&http, &pod.address, 5, 2).await.unwrap();
        let query = |key: &str, value: &str| (key.to_owned(), value.to_owned());
        assert_eq!(
            *pod.asked.lock().unwrap(),
            [[query("connections", "5"), query("per_second", "2")].into()]
        );
    }

    #[tokio::test]
    async fn what_it_answers_instead_is_told() {
        let http = http();
        let pod = FakePod::answering(StatusCode::CONFLICT, "the server drains\n").await;
        let error = shed(&http, &pod.address, 5, 2).await.unwrap_err();
        assert_eq!(error.to_string(), "it answers 409 Conflict: the server drains");
        let nobody = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap().to_string();
        let error = shed(&http, &nobody, 5, 2).await.unwrap_err();
        assert!(matches!(error, ShedError::Unreachable(_)), "{error}");
    }
}
