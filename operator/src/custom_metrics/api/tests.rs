use super::*;

#[test]
fn what_is_no_name_does_not_reach_a_path() {
    for name in ["market", "a", "a-1", &"a".repeat(253)] {
        assert!(is_label(name), "{name}");
    }
    for name in ["", "..", "a/b", "a b", "a%2fb", "A", "-a", "a-", "a.b", "*", &"a".repeat(254)] {
        assert!(!is_label(name), "{name}");
    }
    assert!(is_name("ticks-5d9c.b"));
    assert!(!is_name("../secrets"));
}

#[test]
fn readings_are_told_as_the_api_has_them() {
    let at = "2026-01-02T03:04:05.678Z".parse().unwrap();
    let readings = [Reading { pod: "ticks-a".to_owned(), connections: 12, at }];
    insta::assert_snapshot!(serde_json::to_string_pretty(&list("market", &readings)).unwrap(), @r#"
    {
      "apiVersion": "custom.metrics.k8s.io/v1beta2",
      "items": [
        {
          "describedObject": {
            "apiVersion": "v1",
            "kind": "Pod",
            "name": "ticks-a",
            "namespace": "market"
          },
          "metric": {
            "name": "active_connections",
            "selector": null
          },
          "timestamp": "2026-01-02T03:04:05Z",
          "value": "12",
          "windowSeconds": 0
        }
      ],
      "kind": "MetricValueList",
      "metadata": {}
    }
    "#);
    insta::assert_snapshot!(list("market", &[]).to_string(), @r#"{"apiVersion":"custom.metrics.k8s.io/v1beta2","items":[],"kind":"MetricValueList","metadata":{}}"#);
}
