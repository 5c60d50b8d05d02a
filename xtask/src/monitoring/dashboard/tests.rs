use std::collections::BTreeSet;

use super::*;

fn values() -> Values {
    let mut values = Values::given(Duration::from_secs(4));
    for name in ["namespace", "fleet"] {
        values.0.push((name.to_owned(), "(a|b)".to_owned()));
    }
    values
}

fn panels(dashboard: &Dashboard) -> Vec<&Panel> {
    dashboard.rows.iter().flat_map(|row| &row.panels).collect()
}

#[test]
fn every_panel_says_what_it_shows_and_what_of() {
    let dashboard = Dashboard::read().unwrap();
    let panels = panels(&dashboard);
    assert!(panels.len() > 40);
    for panel in &panels {
        let description = panel.json["description"].as_str().unwrap_or_default();
        assert!(description.len() > 20 && description.ends_with('.'), "{}: {description:?}", panel.title);
        assert!(!panel.queries.is_empty(), "{} has no query", panel.title);
        let sources = panel.json["targets"].as_array().unwrap().iter().map(|target| &target["datasource"]);
        for source in sources.chain([&panel.json["datasource"]]) {
            assert_eq!(source["uid"], "${datasource}", "{}", panel.title);
        }
    }
    let titles: BTreeSet<_> = panels.iter().map(|panel| &panel.title).collect();
    assert_eq!(titles.len(), panels.len(), "a title is used twice");
    let ids: BTreeSet<_> = panels.iter().map(|panel| panel.json["id"].as_u64()).collect();
    assert_eq!(ids.len(), panels.len(), "an id is used twice");
}

#[test]
fn no_panel_covers_another_or_hangs_over_the_edge() {
    let dashboard = Dashboard::read().unwrap();
    let panels = panels(&dashboard);
    for (n, a) in panels.iter().enumerate() {
        let (one, title) = (a.place, &a.title);
        assert!(one.x + one.width <= 24.0, "{title} is too wide");
        for b in &panels[n + 1..] {
            let other = b.place;
            let apart = one.x + one.width <= other.x
                || other.x + other.width <= one.x
                || one.y + one.height <= other.y
                || other.y + other.height <= one.y;
            assert!(apart, "{title} and {}", b.title);
        }
    }
}

#[test]
fn every_query_is_filled_in_and_of_the_chosen_fleets() {
    let dashboard = Dashboard::read().unwrap();
    let values = values();
    for panel in panels(&dashboard) {
        for query in &panel.queries {
            let text = query.text(&values).unwrap();
            let chosen = ["namespace=~\"(a|b)\"", "vector(100)"].iter().any(|part| text.contains(part));
            // The operator is the one of the whole cluster.
            let operator = text.contains("tickwire_operator_");
            assert!(chosen || operator, "{}: {text}", panel.title);
        }
    }
}

#[test]
fn a_variable_that_is_not_known_is_an_error() {
    let values = values();
    assert_eq!(
        values.fill_in("rate(a{b=~\"${fleet}-c\"}[$__rate_interval])").unwrap(),
        "rate(a{b=~\"(a|b)-c\"}[4s])"
    );
    assert!(values.fill_in("a[$__range]").is_err());
}

#[test]
fn a_metric_is_known_by_its_whole_name() {
    assert!(has_metric("sum(a_b{c=\"d\"})", "a_b"));
    assert!(!has_metric("sum(a_b_total)", "a_b"));
    assert!(!has_metric("sum(x_a_b)", "a_b"));
}

#[test]
fn a_series_is_called_as_the_legend_says() {
    let labels = [("pod".to_owned(), "p-1".to_owned()), ("le".to_owned(), "5".to_owned())];
    let query = |legend: &str| Query { expression: String::new(), legend: legend.to_owned() };
    assert_eq!(query("{{pod}} at most {{le}}").name(&labels), "p-1 at most 5");
    assert_eq!(query("__auto").name(&labels), "p-1 5");
}

#[test]
fn a_variable_keeps_what_its_expression_keeps() {
    let parse = |regex: &str| {
        Variable::parse(&serde_json::json!({ "name": "fleet", "regex": regex, "query": { "query": "" } }))
    };
    assert_eq!(parse("").unwrap().suffix, "");
    assert_eq!(parse("/(.+)-metrics/").unwrap().suffix, "-metrics");
    assert!(parse("/[a-z]/").is_err());
    assert_eq!(label_values("label_values(a{b=\"c\", d=\"e\"}, f)").unwrap(), ("a{b=\"c\", d=\"e\"}", "f"));
    assert!(label_values("query_result(a)").is_err());
}
