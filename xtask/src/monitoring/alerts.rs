//! The alerts: those of a StreamServer as the operator makes them, and those of the chart about the operators. promtool checks both, and runs
//! the tests in tests/alerts.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;
use tickwire_crd::StreamServer;
use tickwire_operator::build::alert_rules;
use tickwire_operator::fleet::Fleet;

use super::dashboard::has_metric;
use super::prometheus::{Period, Prometheus};
use crate::generate::root;
use crate::process::succeed;

/// Rules, by the name that their tests have for them.
struct Rules {
    name: &'static str,
    /// As a rule file has them.
    groups: Value,
}

impl Rules {
    fn all() -> Result<[Self; 2]> {
        Ok([
            Self { name: "stream-server", groups: of_sample()? },
            Self { name: "operator", groups: yaml(&root().join("charts/tickwire/files/alerts.yaml"))? },
        ])
    }

    fn alerts(&self) -> impl Iterator<Item = &Value> {
        let groups = self.groups["groups"].as_array().into_iter().flatten();
        groups.flat_map(|group| group["rules"].as_array().into_iter().flatten())
    }

    fn names(&self) -> BTreeSet<&str> {
        self.alerts().filter_map(|alert| alert["alert"].as_str()).collect()
    }
}

/// The rules that the operator makes of the StreamServer in tests/alerts.
fn of_sample() -> Result<Value> {
    let server: StreamServer = serde_json::from_value(yaml(&root().join("tests/alerts/sample.yaml"))?)?;
    Ok(alert_rules(&Fleet::of(&server)?, &server.spec))
}

fn yaml(path: &Path) -> Result<Value> {
    let text = std::fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    serde_saphyr::from_str(&text).with_context(|| format!("{} is no YAML", path.display()))
}

/// Has promtool check the rules and run their tests; each alert must have a test in which it fires, one in which it does not, and a section
/// that says what to do.
pub(super) fn check() -> Result<()> {
    let folder = tempfile::tempdir()?;
    let operations = std::fs::read_to_string(root().join("docs/OPERATIONS.md"))?;
    for rules in Rules::all()? {
        let file = folder.path().join(format!("{}.rules.yaml", rules.name));
        // JSON is YAML.
        std::fs::write(&file, serde_json::to_string_pretty(&rules.groups)?)?;
        succeed(Command::new("promtool").args(["check", "rules"]).arg(&file))?;
        let tests = root().join(format!("tests/alerts/{}.yaml", rules.name));
        // A test finds its rules beside it.
        let copy = folder.path().join(format!("{}.yaml", rules.name));
        std::fs::copy(&tests, &copy).with_context(|| format!("cannot read {}", tests.display()))?;
        succeed(Command::new("promtool").args(["test", "rules"]).arg(&copy))?;
        let tested = tested(&yaml(&tests)?);
        for alert in rules.alerts() {
            let name = alert["alert"].as_str().context("an alert has a name")?;
            for (fires, what) in [(true, "in which it fires"), (false, "in which it does not fire")] {
                ensure!(
                    tested.contains(&(name.to_owned(), fires)),
                    "{name} has no test {what} in {}",
                    tests.display()
                );
            }
            ensure!(
                operations.lines().any(|line| line == format!("### {name}")),
                "docs/OPERATIONS.md has no section {name}"
            );
            let runbook = alert["annotations"]["runbook"].as_str().unwrap_or_default();
            let expected = format!("docs/OPERATIONS.md#{}", name.to_lowercase());
            ensure!(runbook == expected, "the runbook of {name} is {runbook:?}; it should be {expected:?}");
            ensure!(alert["for"].is_string(), "{name} has no for");
            ensure!(alert["annotations"]["description"].is_string(), "{name} has no description");
        }
        println!("{}: {} alerts, each tested both ways", rules.name, rules.names().len());
    }
    Ok(())
}

/// Which alerts are tested, and whether they fire there.
fn tested(tests: &Value) -> BTreeSet<(String, bool)> {
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    let tests = list(tests, "tests");
    let cases = tests.iter().flat_map(|test| list(test, "alert_rule_test"));
    cases
        .filter_map(|case| {
            Some((case["alertname"].as_str()?.to_owned(), !list(&case, "exp_alerts").is_empty()))
        })
        .collect()
}

/// Whether the metrics by which the alerts go are there: an alert by a name that nobody has would be silent for ever. Answers how many there
/// are, and what is wrong.
pub(super) fn check_metrics(
    prometheus: &Prometheus,
    period: Period,
    without: &[(&str, &str)],
) -> Result<(usize, Vec<String>)> {
    let metrics = metrics()?;
    let mut wrong = Vec::new();
    for metric in &metrics {
        let is_there = !prometheus.label_values("__name__", metric, period)?.is_empty();
        match without.iter().find(|(excused, _)| has_metric(metric, excused)) {
            Some((_, why)) if is_there => {
                wrong.push(format!("{metric}, of an alert, is there, although it is said not to be ({why})"));
            }
            None if !is_there => wrong.push(format!("{metric}, of an alert, is not there")),
            _ => {}
        }
    }
    Ok((metrics.len(), wrong))
}

/// The metrics by which the alerts go.
pub(super) fn metrics() -> Result<BTreeSet<String>> {
    let mut metrics = BTreeSet::new();
    for rules in Rules::all()? {
        for alert in rules.alerts() {
            let expression = alert["expr"].as_str().context("an alert has an expression")?;
            let found = selected(expression);
            ensure!(!found.is_empty(), "no metric is found in {expression:?}");
            metrics.extend(found);
        }
    }
    Ok(metrics)
}

/// The metrics of an expression: names before a brace.
fn selected(expression: &str) -> BTreeSet<String> {
    let name = |before: &str| -> String {
        let is_name = |letter: &char| letter.is_ascii_alphanumeric() || *letter == '_';
        before.chars().rev().take_while(is_name).collect::<Vec<_>>().into_iter().rev().collect()
    };
    let braces = expression.match_indices('{').map(|(at, _)| name(&expression[..at]));
    braces.filter(|name| !name.is_empty()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn metrics_are_what_stands_before_braces() {
        let found = selected("sum(rate(a_total{b=\"c\"}[5m])) / on () up{} > 0");
        assert_eq!(found, ["a_total".to_owned(), "up".to_owned()].into());
    }

    #[test]
    fn a_test_says_whether_its_alert_fires() {
        let tests = serde_json::json!({ "tests": [{ "alert_rule_test": [
            { "alertname": "A", "exp_alerts": [{}] }, { "alertname": "B", "exp_alerts": [] }, { "alertname": "C" },
        ] }] });
        let expected =
            [("A", true), ("B", false), ("C", false)].map(|(name, fires)| (name.to_owned(), fires));
        assert_eq!(tested(&tests), expected.into());
    }

    #[test]
    fn no_two_alerts_have_the_same_name() {
        for rules in Rules::all().unwrap() {
            assert_eq!(rules.names().len(), rules.alerts().count());
            assert!(rules.names().len() > 5);
        }
    }
}
