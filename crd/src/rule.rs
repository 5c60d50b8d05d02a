//! Rules in the Common Expression Language, which the API server checks.

use serde_json::{Value, json};

/// A rule, and what the API server says of an object that breaks it.
pub(crate) fn rule(expression: &str, message: &str) -> Value {
    json!({ "rule": expression, "message": message, "reason": "FieldValueInvalid" })
}

/// A rule about one field of the object that it is written at, so that the message names the field.
pub(crate) fn field_rule(field: &str, expression: &str, message: &str) -> Value {
    json!({ "rule": expression, "message": message, "reason": "FieldValueInvalid", "fieldPath": format!(".{field}") })
}
