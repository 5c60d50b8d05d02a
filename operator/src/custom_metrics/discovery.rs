//! What the API says of itself (metav1), in the form that came before aggregated discovery: where the API server gets that, it asks for one group and
//! version at a time.

use serde_json::{Value, json};

use super::{GROUP, METRIC, VERSION};

/// What `/apis` answers: all groups, of which there is one.
#[must_use]
pub fn groups() -> Value {
    let mut group = versions();
    for field in ["kind", "apiVersion"] {
        group.as_object_mut().map(|group| group.remove(field));
    }
    json!({ "kind": "APIGroupList", "apiVersion": "v1", "groups": [group] })
}

/// What `/apis/custom.metrics.k8s.io` answers: the group's versions, of which there is one.
#[must_use]
pub fn versions() -> Value {
    let version = json!({ "groupVersion": format!("{GROUP}/{VERSION}"), "version": VERSION });
    json!({
        "kind": "APIGroup",
        "apiVersion": "v1",
        "name": GROUP,
        "versions": [version],
        "preferredVersion": version,
    })
}

/// What `/apis/custom.metrics.k8s.io/v1beta2` answers: the metrics, of which there is one.
#[must_use]
pub fn resources() -> Value {
    json!({
        "kind": "APIResourceList",
        "apiVersion": "v1",
        "groupVersion": format!("{GROUP}/{VERSION}"),
        "resources": [{
            "name": format!("pods/{METRIC}"),
            "singularName": "",
            "namespaced": true,
            "kind": "MetricValueList",
            "verbs": ["get"],
        }],
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(document: &Value) -> String {
        serde_json::to_string_pretty(document).unwrap()
    }

    #[test]
    fn the_documents_are_those_of_an_api_with_one_metric() {
        insta::assert_snapshot!(shown(&groups()), @r#"
        {
          "apiVersion": "v1",
          "groups": [
            {
              "name": "custom.metrics.k8s.io",
              "preferredVersion": {
                "groupVersion": "custom.metrics.k8s.io/v1beta2",
                "version": "v1beta2"
              },
              "versions": [
                {
                  "groupVersion": "custom.metrics.k8s.io/v1beta2",
                  "version": "v1beta2"
                }
              ]
            }
          ],
          "kind": "APIGroupList"
        }
        "#);
        insta::assert_snapshot!(shown(&versions()), @r#"
        {
          "apiVersion": "v1",
          "kind": "APIGroup",
          "name": "custom.metrics.k8s.io",
          "preferredVersion": {
            "groupVersion": "custom.metrics.k8s.io/v1beta2",
            "version": "v1beta2"
          },
          "versions": [
            {
              "groupVersion": "custom.metrics.k8s.io/v1beta2",
              "version": "v1beta2"
            }
          ]
        }
        "#);
        insta::assert_snapshot!(shown(&resources()), @r#"
        {
          "apiVersion": "v1",
          "groupVersion": "custom.metrics.k8s.io/v1beta2",
          "kind": "APIResourceList",
          "resources": [
            {
              "kind": "MetricValueList",
              "name": "pods/active_connections",
              "namespaced": true,
              "singularName": "",
              "verbs": [
                "get"
              ]
            }
          ]
        }
        "#);
    }
}
