//! The processes of containers, which run on this machine.

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// Ends the processes of a pod whose program's name begins so, by SIGKILL, from outside of the container.
pub(crate) fn kill(pod: &Value, program: &str) {
    let (name, uid) = (&pod["metadata"]["name"], pod["metadata"]["uid"].as_str().expect("a UID"));
    let killed = of(uid, program);
    assert!(!killed.is_empty(), "{program} of {name} runs on this machine");
    for id in killed {
        kill_process(id, Signal::KILL).expect("it is there");
    }
}

/// The processes of a pod, known by their cgroup, whose program's name begins so.
fn of(uid: &str, program: &str) -> Vec<Pid> {
    let underscored = uid.replace('-', "_");
    let folders = std::fs::read_dir("/proc").expect("/proc");
    let ids = folders.flatten().filter_map(|folder| folder.file_name().to_str()?.parse::<i32>().ok());
    ids.filter(|id| {
        let read = |file: &str| std::fs::read_to_string(format!("/proc/{id}/{file}")).unwrap_or_default();
        let cgroup = read("cgroup");
        read("comm").starts_with(program) && (cgroup.contains(uid) || cgroup.contains(&underscored))
    })
    .filter_map(Pid::from_raw)
    .collect()
}
