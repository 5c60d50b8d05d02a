//! A Prometheus: one that is started here, or one that runs elsewhere; and what it answers.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

/// A span of time, in seconds since 1970.
#[derive(Clone, Copy, Debug)]
pub(super) struct Period {
    pub(super) from: f64,
    pub(super) to: f64,
}

impl Period {
    /// Whole seconds between two points, so that there are at most so many.
    pub(super) fn step(self, points: f64) -> f64 {
        ((self.to - self.from) / points).ceil().max(1.0)
    }
}

/// Seconds since 1970.
pub(super) fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// A series with its values in the order of time.
#[derive(Debug)]
pub(super) struct Sampled {
    pub(super) labels: Vec<(String, String)>,
    pub(super) values: Vec<(f64, f64)>,
}

/// Answers queries.
pub(super) struct Prometheus {
    /// HOST:PORT.
    address: String,
    /// Before /api; empty as a rule.
    prefix: String,
    child: Option<Child>,
}

/// How long it may take to start, and to answer.
const PATIENCE: Duration = Duration::from_secs(60);

impl Prometheus {
    /// Starts one that has its data in `folder`, by `configuration`; it ends when it is dropped.
    pub(super) fn start(folder: &Path, configuration: &Path) -> Result<Self> {
        let port = tickwire_tests::free_port();
        let address = format!("127.0.0.1:{port}");
        let log = folder.join("prometheus.log");
        let mut command = Command::new("prometheus");
        command
            .arg(format!("--config.file={}", configuration.display()))
            .arg(format!("--storage.tsdb.path={}", folder.join("data").display()))
            .arg(format!("--web.listen-address={address}"))
            .arg("--log.level=warn")
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(std::fs::File::create(&log)?);
        let child = command.spawn().context("cannot run prometheus")?;
        let mut prometheus = Self { address, prefix: String::new(), child: Some(child) };
        let start = Instant::now();
        while prometheus.get("/-/ready").is_err() {
            let ended = prometheus.child.as_mut().map(Child::try_wait).transpose()?.flatten();
            if ended.is_some() || start.elapsed() > PATIENCE {
                bail!("prometheus did not start: {}", std::fs::read_to_string(&log).unwrap_or_default());
            }
            std::thread::park_timeout(Duration::from_millis(50));
        }
        Ok(prometheus)
    }

    /// One that runs already, such as http://127.0.0.1:9090.
    pub(super) fn at(url: &str) -> Result<Self> {
        let rest = url.strip_prefix("http://");
        let rest = rest
            .with_context(|| format!("{url:?} should begin with http://, such as http://127.0.0.1:9090"))?;
        let (address, prefix) = rest.split_once('/').unwrap_or((rest, ""));
        let address = if address.contains(':') { address.to_owned() } else { format!("{address}:80") };
        let prefix = prefix.trim_end_matches('/');
        let prefix = if prefix.is_empty() { String::new() } else { format!("/{prefix}") };
        Ok(Self { address, prefix, child: None })
    }

    /// What a query answers at a time.
    pub(super) fn query(&self, query: &str, time: f64) -> Result<Vec<Sampled>> {
        let data = self.api("query", &[("query", query), ("time", &time.to_string())])?;
        if data["resultType"] == "scalar" {
            return Ok(vec![Sampled { labels: Vec::new(), values: vec![value(&data["result"])?] }]);
        }
        sampled(&data, |series| Ok(vec![value(&series["value"])?]))
    }

    /// What a query answers over a time.
    pub(super) fn query_range(&self, query: &str, period: Period, step: f64) -> Result<Vec<Sampled>> {
        let (start, end, step) = (period.from.to_string(), period.to.to_string(), step.to_string());
        let data =
            self.api("query_range", &[("query", query), ("start", &start), ("end", &end), ("step", &step)])?;
        sampled(&data, |series| series["values"].as_array().into_iter().flatten().map(value).collect())
    }

    /// The values that a label has, of the series that a selector names.
    pub(super) fn label_values(&self, label: &str, selector: &str, period: Period) -> Result<Vec<String>> {
        let (start, end) = (period.from.to_string(), period.to.to_string());
        let path = format!("label/{label}/values");
        let data = self.api(&path, &[("match[]", selector), ("start", &start), ("end", &end)])?;
        let values = data.as_array().context("a list of values")?;
        Ok(values.iter().filter_map(Value::as_str).map(str::to_owned).collect())
    }

    fn api(&self, path: &str, parameters: &[(&str, &str)]) -> Result<Value> {
        let parameters: Vec<_> =
            parameters.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value))).collect();
        let answer = self.get(&format!("/api/v1/{path}?{}", parameters.join("&")))?;
        let mut answer: Value = serde_json::from_str(&answer).context("Prometheus' answer is no JSON")?;
        ensure!(
            answer["status"] == "success",
            "{}",
            answer["error"].as_str().unwrap_or("it does not say why")
        );
        Ok(answer["data"].take())
    }

    /// The body of an answer. What is refused by the API has one, too.
    fn get(&self, path: &str) -> Result<String> {
        let stream = TcpStream::connect(&self.address);
        let mut stream =
            stream.with_context(|| format!("Prometheus at {} cannot be reached", self.address))?;
        stream.set_read_timeout(Some(PATIENCE))?;
        // By 1.0 the answer comes in one piece, and ends with the connection.
        write!(stream, "GET {}{path} HTTP/1.0\r\nHost: {}\r\n\r\n", self.prefix, self.address)?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("an answer by HTTP")?;
        let status = head.split_whitespace().nth(1).unwrap_or_default();
        // 400 and 422: the query cannot be parsed, or not be run; the body says why.
        ensure!(["200", "400", "422"].contains(&status), "Prometheus answers {status} to {path}");
        Ok(body.to_owned())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        if let Some(child) = &mut self.child {
            // Where it has ended already, there is nothing to do.
            let _ended = child.kill();
            let _waited = child.wait();
        }
    }
}

fn sampled(data: &Value, values: impl Fn(&Value) -> Result<Vec<(f64, f64)>>) -> Result<Vec<Sampled>> {
    let result = data["result"].as_array().context("a list of series")?;
    let series = result.iter().map(|series| {
        let labels = series["metric"].as_object().into_iter().flatten();
        let labels =
            labels.map(|(name, value)| (name.clone(), value.as_str().unwrap_or_default().to_owned()));
        Ok(Sampled { labels: labels.collect(), values: values(series)? })
    });
    series.collect()
}

/// `[1700000000, "1.5"]`.
fn value(pair: &Value) -> Result<(f64, f64)> {
    let value = pair[1].as_str().context("a value")?;
    Ok((
        pair[0].as_f64().context("a time")?,
        value.parse().with_context(|| format!("{value:?} is no number"))?,
    ))
}

fn encode(text: &str) -> String {
    let encode = |byte: u8| match byte {
        b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => char::from(byte).to_string(),
        _ => format!("%{byte:02X}"),
    };
    text.bytes().map(encode).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_taken_apart_and_another_protocol_refused() {
        let prometheus = Prometheus::at("http://127.0.0.1:9090").unwrap();
        assert_eq!((prometheus.address.as_str(), prometheus.prefix.as_str()), ("127.0.0.1:9090", ""));
        let prometheus = Prometheus::at("http://monitoring/prometheus/").unwrap();
        assert_eq!(
            (prometheus.address.as_str(), prometheus.prefix.as_str()),
            ("monitoring:80", "/prometheus")
        );
        let error = Prometheus::at("https://a").err().unwrap().to_string();
        assert!(error.contains("should begin with http://"), "{error}");
    }

    #[test]
    fn a_query_is_encoded_byte_by_byte() {
        assert_eq!(encode("sum(up{a=~\".+\"})"), "sum%28up%7Ba%3D~%22.%2B%22%7D%29");
    }

    #[test]
    fn what_is_not_a_number_is_a_value_too() {
        assert!(value(&serde_json::json!([1.5, "NaN"])).unwrap().1.is_nan());
        assert!(value(&serde_json::json!([1.5, "many"])).is_err());
    }
}
