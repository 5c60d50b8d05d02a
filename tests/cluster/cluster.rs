//! The cluster, as kubectl and helm see it.

use std::io::Write as _;
use std::process::{Command, Output, Stdio};
use std::time::{Duration, Instant};

/// How long something may take to become so: images are there, but two cores have a whole cluster to run.
pub(crate) const PATIENCE: Duration = Duration::from_secs(180);

/// How often is looked.
const PAUSE: Duration = Duration::from_millis(200);

/// The root folder of the repository.
pub(crate) fn root() -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("tests/ has a parent").to_path_buf()
}

/// What a program has said.
#[derive(Debug)]
pub(crate) struct Said {
    pub(crate) ok: bool,
    pub(crate) out: String,
    pub(crate) err: String,
}

impl Said {
    fn of(output: Output) -> Self {
        let text = |bytes| String::from_utf8(bytes).expect("text");
        Self { ok: output.status.success(), out: text(output.stdout), err: text(output.stderr) }
    }

    /// What it wrote, where it ended well.
    pub(crate) fn expect(self, what: &str) -> String {
        assert!(self.ok, "{what}: {}\n{}", self.err, self.out);
        self.out
    }
}

/// Runs kubectl, with this on its standard input.
pub(crate) fn kubectl_with(input: &str, arguments: &[&str]) -> Said {
    assert!(
        std::env::var_os("KUBECONFIG").is_some(),
        "KUBECONFIG is not set; run `cargo xtask test cluster`"
    );
    run(Command::new("kubectl").args(arguments), input)
}

/// Runs kubectl, which must end well. Answers what it wrote.
pub(crate) fn kubectl(arguments: &[&str]) -> String {
    kubectl_with("", arguments).expect(&format!("kubectl {}", arguments.join(" ")))
}

/// Runs helm, which must end well. Answers what it wrote.
pub(crate) fn helm(arguments: &[&str]) -> String {
    run(Command::new("helm").args(arguments), "").expect(&format!("helm {}", arguments.join(" ")))
}

/// Runs `cargo xtask …`, by the program that runs these tests.
pub(crate) fn xtask(arguments: &[&str]) -> Said {
    let xtask =
        std::env::var_os("TICKWIRE_XTASK").expect("TICKWIRE_XTASK is set; run `cargo xtask test cluster`");
    run(Command::new(xtask).args(arguments), "")
}

/// Runs `cargo xtask cluster …`, which must end well. Answers what it wrote.
pub(crate) fn xtask_cluster(arguments: &[&str]) -> String {
    let arguments = [&["cluster"], arguments].concat();
    xtask(&arguments).expect(&format!("xtask {}", arguments.join(" ")))
}

fn run(command: &mut Command, input: &str) -> Said {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let mut stdin = child.stdin.take().expect("piped");
    let input = input.to_owned();
    // Beside the reading: a program may write before it has read all.
    let writing = std::thread::spawn(move || stdin.write_all(input.as_bytes()));
    let output = child.wait_with_output().expect("it ends");
    // One that does not read its input has closed it.
    let _written = writing.join();
    Said::of(output)
}

/// Waits until the question has an answer.
pub(crate) fn eventually<T>(what: &str, question: impl FnMut() -> Option<T>) -> T {
    eventually_within(PATIENCE, what, question)
}

/// Waits until the question has an answer, for so long at most.
pub(crate) fn eventually_within<T>(
    patience: Duration,
    what: &str,
    mut question: impl FnMut() -> Option<T>,
) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = question() {
            return answer;
        }
        assert!(start.elapsed() < patience, "still not so after {patience:?}: {what}");
        std::thread::park_timeout(PAUSE);
    }
}
