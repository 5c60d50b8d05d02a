//! Why a question is not answered, as Kubernetes says it.

use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde_json::json;

use super::front_proxy::Stranger;

/// Why a question is not answered.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// Nobody knows who asks.
    #[error("{0}")]
    Unauthorized(Stranger),
    /// Who asks may not.
    #[error("{0}")]
    Forbidden(String),
    /// The question makes no sense.
    #[error("{0}")]
    BadRequest(String),
    /// What is asked for is not there.
    #[error("{0}")]
    NotFound(String),
    /// Things can be asked for, and nothing else.
    #[error("metrics can be read and not changed: GET is the only method")]
    MethodNotAllowed,
    /// There is no answer now.
    #[error("{0}")]
    Unavailable(String),
}

impl Refusal {
    /// HTTP's status.
    #[must_use]
    pub fn code(&self) -> StatusCode {
        match self {
            Self::Unauthorized(_) => StatusCode::UNAUTHORIZED,
            Self::Forbidden(_) => StatusCode::FORBIDDEN,
            Self::BadRequest(_) => StatusCode::BAD_REQUEST,
            Self::NotFound(_) => StatusCode::NOT_FOUND,
            Self::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
            Self::Unavailable(_) => StatusCode::SERVICE_UNAVAILABLE,
        }
    }

    /// Kubernetes' word for it (metav1.StatusReason), by which clients go.
    #[must_use]
    pub fn reason(&self) -> &'static str {
        match self {
            Self::Unauthorized(_) => "Unauthorized",
            Self::Forbidden(_) => "Forbidden",
            Self::BadRequest(_) => "BadRequest",
            Self::NotFound(_) => "NotFound",
            Self::MethodNotAllowed => "MethodNotAllowed",
            Self::Unavailable(_) => "ServiceUnavailable",
        }
    }
}

impl IntoResponse for Refusal {
    fn into_response(self) -> Response {
        let status = json!({
            "kind": "Status",
            "apiVersion": "v1",
            "metadata": {},
            "status": "Failure",
            "message": self.to_string(),
            "reason": self.reason(),
            "code": self.code().as_u16(),
        });
        (self.code(), [(header::CONTENT_TYPE, "application/json")], status.to_string()).into_response()
    }
}
