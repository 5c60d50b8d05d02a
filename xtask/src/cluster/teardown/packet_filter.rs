//! The rules that kubelet, kube-proxy and the CNI plugins have put into the packet filter, and nobody else's.

use std::io::Write as _;
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, ensure};

use crate::process::succeed;

/// What their chains' names begin with.
const OURS: [&str; 2] = ["KUBE-", "CNI-"];

/// Removes them, for both versions of IP.
pub(super) fn clear() -> Result<()> {
    for ip in ["iptables", "ip6tables"] {
        let removal = removal(&saved(ip)?);
        if !removal.is_empty() {
            restore(ip, &removal)?;
        }
        // A table without rules still has the kernel follow every connection of the machine, which is felt where there are many.
        for table in empty_tables(&saved(ip)?) {
            succeed(Command::new(ip).args(["--table", table, "--delete-chain"]))?;
        }
    }
    Ok(())
}

/// All rules, as iptables-save says them.
fn saved(ip: &str) -> Result<String> {
    let program = format!("{ip}-save");
    let output = Command::new(&program).output().with_context(|| format!("cannot run {program}"))?;
    ensure!(output.status.success(), "{program} ended with {}", output.status);
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Has iptables-restore do what a script says.
fn restore(ip: &str, script: &str) -> Result<()> {
    let program = format!("{ip}-restore");
    let mut command = Command::new(&program);
    command.arg("--noflush").stdin(Stdio::piped());
    let mut child = command.spawn().with_context(|| format!("cannot run {program}"))?;
    // It is dropped at once, which is the input's end.
    let written = child.stdin.take().map(|mut stdin| stdin.write_all(script.as_bytes()));
    let status = child.wait()?;
    ensure!(status.success(), "{program} ended with {status}, given:\n{script}");
    written.context("it has an input")?.context("cannot write to it")
}

/// The tables of such a text.
fn tables(saved: &str) -> impl Iterator<Item = (&str, &str)> {
    saved.split_inclusive("COMMIT\n").filter_map(|table| {
        let name = table.lines().find_map(|line| line.strip_prefix('*'))?;
        Some((name, table))
    })
}

/// Those which let everything pass as if they were not there: without rules and chains, but for the kernel's own, which accept.
fn empty_tables(saved: &str) -> Vec<&str> {
    let is_empty = |table: &str| {
        let lines = table.lines().filter(|line| line.starts_with(':') || line.starts_with('-'));
        lines.into_iter().all(|line| line.starts_with(':') && line.contains(" ACCEPT "))
    };
    tables(saved).filter(|(_, table)| is_empty(table)).map(|(name, _)| name).collect()
}

/// Of what iptables-save says, that which iptables-restore needs to be told to remove ours: in each table first the rules of others' chains
/// that lead to ours, then the chains.
fn removal(saved: &str) -> String {
    let mut script = String::new();
    for (name, table) in tables(saved) {
        let chains: Vec<_> = table
            .lines()
            .filter_map(|line| line.strip_prefix(':')?.split(' ').next())
            .filter(|chain| is_ours(chain))
            .collect();
        if chains.is_empty() {
            continue;
        }
        script += &format!("*{name}\n");
        for rule in table.lines().filter_map(|line| line.strip_prefix("-A ")) {
            let (chain, rest) = rule.split_once(' ').unwrap_or((rule, ""));
            if !is_ours(chain) && leads_to(rest).is_some_and(is_ours) {
                script += &format!("-D {rule}\n");
            }
        }
        // All are emptied before any is deleted, since they lead to each other.
        for action in ["-F", "-X"] {
            for chain in &chains {
                script += &format!("{action} {chain}\n");
            }
        }
        script += "COMMIT\n";
    }
    script
}

fn is_ours(chain: &str) -> bool {
    OURS.iter().any(|prefix| chain.starts_with(prefix))
}

/// The chain that a rule jumps or goes to. It stands behind everything that matches, and so behind a comment that has such words in it.
fn leads_to(rule: &str) -> Option<&str> {
    let mut words = rule.rsplit(' ').peekable();
    while let Some(word) = words.next() {
        if words.peek().is_some_and(|option| matches!(*option, "-j" | "-g")) {
            return Some(word);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn our_chains_and_what_leads_to_them_go_and_everything_else_stays() {
        let saved = "\
# Generated
*filter
:INPUT ACCEPT [0:0]
:DOCKER - [0:0]
:KUBE-FIREWALL - [0:0]
:KUBE-FORWARD - [0:0]
-A INPUT -m comment --comment \"kubernetes -j health\" -j KUBE-FIREWALL
-A INPUT -p tcp -j DOCKER
-A KUBE-FIREWALL -j DROP
COMMIT
*nat
:POSTROUTING ACCEPT [0:0]
:CNI-1234 - [0:0]
-A POSTROUTING -s 10.244.0.7/32 -j CNI-1234
COMMIT
*mangle
:OUTPUT ACCEPT [0:0]
-A OUTPUT -j MARK --set-xmark 0x1/0x1
COMMIT
";
        let expected = "\
*filter
-D INPUT -m comment --comment \"kubernetes -j health\" -j KUBE-FIREWALL
-F KUBE-FIREWALL
-F KUBE-FORWARD
-X KUBE-FIREWALL
-X KUBE-FORWARD
COMMIT
*nat
-D POSTROUTING -s 10.244.0.7/32 -j CNI-1234
-F CNI-1234
-X CNI-1234
COMMIT
";
        assert_eq!(removal(saved), expected);
    }

    #[test]
    fn a_table_is_empty_without_rules_and_with_the_kernels_chains_that_accept() {
        let saved = "\
*filter
:INPUT ACCEPT [3:200]
:FORWARD ACCEPT [0:0]
COMMIT
*nat
:INPUT ACCEPT [0:0]
:DOCKER - [0:0]
COMMIT
*mangle
:OUTPUT ACCEPT [0:0]
-A OUTPUT -j MARK --set-xmark 0x1/0x1
COMMIT
*raw
:OUTPUT DROP [0:0]
COMMIT
";
        assert_eq!(empty_tables(saved), ["filter"]);
    }
}
