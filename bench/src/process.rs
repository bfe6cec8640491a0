//! Processes that are measured, and what Linux says about them.

use std::{
    io::{BufRead, BufReader},
    process::{Child, ChildStdout, Command, Stdio},
    time::Duration,
};

use serde_json::Value;

use crate::Failed;

/// `sysconf(_SC_CLK_TCK)`, which is 100 on every Linux (`man 7 time`).
const TICKS_PER_SECOND: u64 = 100;

/// A child that is ended when this is dropped.
#[derive(Debug)]
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    /// Kept, because a child that prints into a closed pipe may end.
    stdout: BufReader<ChildStdout>,
}

impl Process {
    /// Starts `command` and waits for the JSON line with which it says that it accepts.
    pub(crate) fn start(name: &'static str, command: &mut Command) -> Result<(Self, Value), Failed> {
        let failed = |error| Failed::because(name, error);
        let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn().map_err(failed)?;
        let stdout = child.stdout.take().ok_or_else(|| Failed::because(name, "has no standard output"))?;
        let mut process = Self { name, child, stdout: BufReader::new(stdout) };
        let mut line = String::new();
        if process.stdout.read_line(&mut line).map_err(failed)? == 0 {
            return Err(Failed::because(name, "ended before it listened"));
        }
        let announced = serde_json::from_str(&line).map_err(|error| Failed::because(name, error))?;
        Ok((process, announced))
    }

    /// CPU time so far, of all its threads, in user and kernel mode. Resolution 10 ms.
    pub(crate) fn cpu(&self) -> Result<Duration, Failed> {
        let stat = self.proc("stat")?;
        cpu_ticks(&stat)
            .map(|ticks| Duration::from_millis(ticks * 1000 / TICKS_PER_SECOND))
            .ok_or_else(|| Failed::because(self.name, "its /proc stat cannot be read"))
    }

    /// Resident memory, in bytes.
    pub(crate) fn resident_bytes(&self) -> Result<u64, Failed> {
        resident_bytes(&self.proc("status")?)
            .ok_or_else(|| Failed::because(self.name, "its /proc status cannot be read"))
    }

    fn proc(&self, file: &str) -> Result<String, Failed> {
        let path = format!("/proc/{}/{file}", self.child.id());
        std::fs::read_to_string(path).map_err(|error| Failed::because(self.name, error))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// `utime` + `stime` (`man 5 proc_pid_stat`, fields 14 and 15). The second field, the name, may hold anything.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, fields) = stat.rsplit_once(')')?;
    let mut fields = fields.split_whitespace().skip(11);
    let (user, system): (u64, u64) = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
    Some(user + system)
}

fn resident_bytes(status: &str) -> Option<u64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    line.trim().strip_suffix(" kB")?.parse().ok().map(|kib: u64| kib * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_files_of_proc_are_read() {
        let stat = "42 (a) b) S 1 42 42 0 -1 4194304 100 0 0 0 170 30 0 0 20 0 3 0 1 1 1 1";
        assert_eq!(cpu_ticks(stat), Some(200));
        assert_eq!(resident_bytes("Name:\ta\nVmRSS:\t   2048 kB\nThreads:\t3\n"), Some(2048 * 1024));
        assert_eq!(resident_bytes("Name:\ta\n"), None);
    }
}
