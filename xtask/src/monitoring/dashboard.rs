//! The chart's dashboard: its panels, and the queries in them, with Grafana's variables filled in.

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde_json::Value;

use super::prometheus::{Period, Prometheus};
use crate::generate::root;
use crate::plot::colour;
use crate::plot::unit::Unit;

/// What Grafana puts in the place of the variables.
#[derive(Clone, Debug)]
pub(super) struct Values(Vec<(String, String)>);

impl Values {
    /// Those that do not depend on what there is. A rate is taken over `interval`.
    fn given(interval: Duration) -> Self {
        let interval = format!("{}s", interval.as_secs().max(1));
        Self(vec![("__rate_interval".to_owned(), interval), ("target".to_owned(), TARGET.to_owned())])
    }

    /// A query as Prometheus is asked it.
    fn fill_in(&self, query: &str) -> Result<String> {
        let mut text = query.to_owned();
        for (name, value) in &self.0 {
            text = text.replace(&format!("${{{name}}}"), value).replace(&format!("${name}"), value);
        }
        ensure!(!text.contains('$'), "{query:?} has a variable that is not known here");
        Ok(text)
    }
}

/// Connections per server that are aimed at, where one would type it in.
const TARGET: &str = "100";

/// A variable whose values are those that there are.
struct Variable {
    name: String,
    /// label_values(SELECTOR, LABEL).
    query: String,
    /// Of each value, what is before this is kept, and values without it are left out; empty: all of each.
    suffix: String,
}

impl Variable {
    fn parse(json: &Value) -> Result<Self> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let (name, regex) = (text(&json["name"]), text(&json["regex"]));
        let suffix = regex.strip_prefix("/(.+)").and_then(|rest| rest.strip_suffix('/'));
        let suffix = if regex.is_empty() { Some("") } else { suffix };
        let suffix = suffix.with_context(|| format!("{name}: regex {regex:?} should be /(.+)SUFFIX/"))?;
        Ok(Self { suffix: suffix.to_owned(), query: text(&json["query"]["query"]), name })
    }

    /// All of its values, as an expression that matches each.
    fn all(&self, prometheus: &Prometheus, period: Period, values: &Values) -> Result<String> {
        let (selector, label) = label_values(&self.query)?;
        let found = prometheus.label_values(label, &values.fill_in(selector)?, period)?;
        let kept: Vec<_> =
            found.iter().filter_map(|value| value.strip_suffix(self.suffix.as_str())).collect();
        ensure!(!kept.is_empty(), "the variable {} has no value: {}", self.name, self.query);
        Ok(format!("({})", kept.join("|")))
    }
}

/// A query of a panel.
#[derive(Clone, Debug)]
pub(super) struct Query {
    expression: String,
    /// With {{labels}}.
    legend: String,
}

impl Query {
    /// As Prometheus is asked it.
    pub(super) fn text(&self, values: &Values) -> Result<String> {
        values.fill_in(&self.expression)
    }

    /// What a series is called.
    pub(super) fn name(&self, labels: &[(String, String)]) -> String {
        if self.legend == "__auto" {
            return labels.iter().map(|(_, value)| value.as_str()).collect::<Vec<_>>().join(" ");
        }
        labels.iter().fold(self.legend.clone(), |text, (label, value)| {
            text.replace(&format!("{{{{{label}}}}}"), value)
        })
    }
}

/// A panel's place, in Grafana's units: 24 are as wide as a page.
#[derive(Clone, Copy, Debug)]
pub(super) struct Place {
    pub(super) x: f64,
    pub(super) y: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// How a panel looks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// One number.
    Number,
    /// Lines over time.
    Lines,
}

/// A panel that shows something.
#[derive(Debug)]
pub(super) struct Panel {
    pub(super) title: String,
    pub(super) kind: Kind,
    pub(super) place: Place,
    pub(super) unit: Unit,
    pub(super) queries: Vec<Query>,
    json: Value,
}

/// What a panel is under.
#[derive(Debug)]
pub(super) struct Row {
    pub(super) title: String,
    pub(super) y: f64,
    pub(super) panels: Vec<Panel>,
}

/// The dashboard.
pub(super) struct Dashboard {
    pub(super) rows: Vec<Row>,
    variables: Vec<Variable>,
    /// What is marked on all panels; often there is nothing to mark.
    annotations: Vec<String>,
}

impl Dashboard {
    /// Reads the one in the chart.
    pub(super) fn read() -> Result<Self> {
        let path = root().join("charts/tickwire/files/dashboard.json");
        let text =
            std::fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        Self::parse(&text).with_context(|| format!("cannot use {}", path.display()))
    }

    fn parse(text: &str) -> Result<Self> {
        let json: Value = serde_json::from_str(text)?;
        let list = |list: &Value| list.as_array().cloned().unwrap_or_default();
        let mut rows: Vec<Row> = Vec::new();
        for panel in list(&json["panels"]) {
            let title = panel["title"].as_str().context("a panel has no title")?.to_owned();
            if panel["type"] == "row" {
                rows.push(Row { title, y: place(&panel)?.y, panels: Vec::new() });
            } else {
                let row = rows.last_mut().with_context(|| format!("{title} is in no row"))?;
                row.panels.push(Panel::parse(title, panel)?);
            }
        }
        let variables = list(&json["templating"]["list"]);
        let variables = variables.iter().filter(|variable| variable["type"] == "query").map(Variable::parse);
        let annotations = list(&json["annotations"]["list"]);
        let annotations = annotations.iter().filter_map(|annotation| annotation["expr"].as_str());
        Ok(Self {
            rows,
            variables: variables.collect::<Result<_>>()?,
            annotations: annotations.map(str::to_owned).collect(),
        })
    }

    /// The variables' values: all namespaces and fleets that there are.
    pub(super) fn values(
        &self,
        prometheus: &Prometheus,
        period: Period,
        rate_interval: Duration,
    ) -> Result<Values> {
        let mut values = Values::given(rate_interval);
        for variable in &self.variables {
            let value = variable.all(prometheus, period, &values)?;
            values.0.push((variable.name.clone(), value));
        }
        Ok(values)
    }

    /// Whether a query of a panel has this metric.
    #[cfg(test)]
    pub(super) fn shows(&self, metric: &str) -> bool {
        let mut queries = self.rows.iter().flat_map(|row| &row.panels).flat_map(|panel| &panel.queries);
        queries.any(|query| has_metric(&query.expression, metric))
    }

    /// Runs every query. Answers how many there are, and what is wrong with which: those with one of the metrics in `without` must have no
    /// data, all others must have some.
    pub(super) fn check(
        &self,
        prometheus: &Prometheus,
        period: Period,
        values: &Values,
        without: &[(&str, &str)],
    ) -> Result<(usize, Vec<String>)> {
        let mut wrong = Vec::new();
        let mut ran = 0;
        for panel in self.rows.iter().flat_map(|row| &row.panels) {
            for query in &panel.queries {
                let text = query.text(values)?;
                let answer = match panel.kind {
                    Kind::Number => prometheus.query(&text, period.to),
                    Kind::Lines => prometheus.query_range(&text, period, period.step(POINTS)),
                };
                ran += 1;
                let excused = without.iter().find(|(metric, _)| has_metric(&text, metric));
                match (answer, excused) {
                    (Err(error), _) => wrong.push(format!("{}: {text}\n  {error:#}", panel.title)),
                    (Ok(series), None) if series.is_empty() => {
                        wrong.push(format!("{}: no data: {text}", panel.title));
                    }
                    (Ok(series), Some((metric, why))) if !series.is_empty() => {
                        wrong.push(format!(
                            "{}: there is data, although {metric} is said to have none ({why}): {text}",
                            panel.title
                        ));
                    }
                    _ => {}
                }
            }
        }
        for annotation in &self.annotations {
            ran += 1;
            if let Err(error) =
                prometheus.query_range(&values.fill_in(annotation)?, period, period.step(POINTS))
            {
                wrong.push(format!("an annotation: {annotation}\n  {error:#}"));
            }
        }
        Ok((ran, wrong))
    }
}

/// Points of a line: more than a picture shows.
const POINTS: f64 = 60.0;

/// `label_values(SELECTOR, LABEL)`.
fn label_values(query: &str) -> Result<(&str, &str)> {
    let inner = query.strip_prefix("label_values(").and_then(|rest| rest.strip_suffix(')'));
    let parts = inner.and_then(|inner| inner.rsplit_once(','));
    let (selector, label) =
        parts.with_context(|| format!("{query:?} should be label_values(SELECTOR, LABEL)"))?;
    Ok((selector.trim(), label.trim()))
}

/// Whether a query has this metric, and not one whose name begins so.
pub(super) fn has_metric(query: &str, metric: &str) -> bool {
    let is_name = |letter: char| letter.is_ascii_alphanumeric() || letter == '_' || letter == ':';
    query.match_indices(metric).any(|(start, _)| {
        let (before, after) = (&query[..start], &query[start + metric.len()..]);
        !before.ends_with(is_name) && !after.starts_with(is_name)
    })
}

fn place(panel: &Value) -> Result<Place> {
    let grid = &panel["gridPos"];
    let number = |key: &str| grid[key].as_f64().with_context(|| format!("gridPos.{key}"));
    Ok(Place { x: number("x")?, y: number("y")?, width: number("w")?, height: number("h")? })
}

impl Panel {
    fn parse(title: String, json: Value) -> Result<Self> {
        let kind = match json["type"].as_str() {
            Some("stat") => Kind::Number,
            Some("timeseries") => Kind::Lines,
            other => anyhow::bail!("{title}: type {other:?} is not known here"),
        };
        let unit = json["fieldConfig"]["defaults"]["unit"].as_str().unwrap_or_default();
        let unit =
            Unit::of_grafana(unit).with_context(|| format!("{title}: unit {unit:?} is not known here"))?;
        let targets = json["targets"].as_array().with_context(|| format!("{title} has no queries"))?;
        let text = |target: &Value, key: &str| target[key].as_str().unwrap_or_default().to_owned();
        let query = |target| Query { expression: text(target, "expr"), legend: text(target, "legendFormat") };
        let queries = targets.iter().map(query).collect();
        Ok(Self { place: place(&json)?, title, kind, unit, queries, json })
    }

    fn defaults(&self, key: &str) -> &Value {
        &self.json["fieldConfig"]["defaults"][key]
    }

    /// Where its axis begins.
    pub(super) fn minimum(&self) -> Option<f64> {
        self.defaults("min").as_f64()
    }

    /// Where its axis ends.
    pub(super) fn maximum(&self) -> Option<f64> {
        self.defaults("max").as_f64()
    }

    /// How far its axis reaches at least.
    pub(super) fn soft_maximum(&self) -> Option<f64> {
        self.defaults("custom")["axisSoftMax"].as_f64()
    }

    /// Whether it shows whole numbers.
    pub(super) fn is_whole(&self) -> bool {
        self.defaults("decimals") == 0
    }

    /// Whether its series stand on each other.
    pub(super) fn is_stacked(&self) -> bool {
        self.defaults("custom")["stacking"]["mode"] == "normal"
    }

    /// Whether its lines are steps.
    pub(super) fn is_stepped(&self) -> bool {
        self.defaults("custom")["lineInterpolation"] == "stepAfter"
    }

    /// What stands in a value's place.
    pub(super) fn mapped(&self, value: f64) -> Option<&str> {
        let mut mappings = self.defaults("mappings").as_array().into_iter().flatten();
        mappings.find_map(|mapping| mapping["options"][value.to_string()]["text"].as_str())
    }

    /// From which values on something has which colour, in ascending order.
    pub(super) fn thresholds(&self) -> impl Iterator<Item = (f64, Option<&'static str>)> {
        let steps = self.defaults("thresholds")["steps"].as_array().into_iter().flatten();
        steps.map(|step| {
            let colour = step["color"].as_str().and_then(colour::of_grafana);
            (step["value"].as_f64().unwrap_or(f64::NEG_INFINITY), colour)
        })
    }

    /// Whether a series of this name is dashed, and the colour that it has whatever its place.
    pub(super) fn look(&self, name: &str) -> (bool, Option<&'static str>) {
        let overrides = self.json["fieldConfig"]["overrides"].as_array().into_iter().flatten();
        let mine = overrides.filter(|entry| entry["matcher"]["options"] == name);
        let properties: Vec<_> =
            mine.flat_map(|entry| entry["properties"].as_array().into_iter().flatten()).collect();
        let find = |id: &str| {
            properties.iter().find(|property| property["id"] == id).map(|property| &property["value"])
        };
        let colour =
            find("color").and_then(|value| value["fixedColor"].as_str()).and_then(colour::of_grafana);
        (find("custom.lineStyle").is_some_and(|style| style["fill"] == "dash"), colour)
    }
}

#[cfg(test)]
mod tests;
