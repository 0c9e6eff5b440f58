//! A program that is being measured: started on its core, watched, and ended with its guard.

use std::fs::File;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::{Result, cpu};

/// How long a program may take to be ready.
const PATIENCE: Duration = Duration::from_secs(20);

/// How often it is asked whether it is.
const POLL: Duration = Duration::from_micros(200);

/// How long it may take to end.
const GRACE: Duration = Duration::from_secs(1);

/// How much of what it complained of is shown.
const TAIL_LINES: usize = 15;

/// A running program with all its children; they end when this is dropped.
pub struct Process {
    child: Child,
    group: Pid,
    stderr: PathBuf,
    pub started: Instant,
}

impl Process {
    /// Starts a program on some cores. What it writes goes to files in `folder`.
    pub fn start(folder: &Path, cores: &str, program: &[&str]) -> Result<Self> {
        let stderr = folder.join("stderr");
        let mut command = Command::new("setpriv");
        // Should we be killed ourselves, nothing that we started goes on.
        command.args(["--pdeathsig", "KILL", "taskset", "--cpu-list"]);
        command.arg(cores).args(program);
        command
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(File::create(folder.join("stdout"))?)
            .stderr(File::create(&stderr)?);
        let started = Instant::now();
        let child = command.spawn()?;
        Ok(Self {
            group: Pid::from_child(&child),
            child,
            stderr,
            started,
        })
    }

    /// Waits until `ready` and says how long that took from the start.
    pub fn until(&mut self, mut ready: impl FnMut() -> bool) -> Result<Duration> {
        while !ready() {
            if let Some(status) = self.child.try_wait()? {
                return Err(format!("it ended with {status}\n{}", self.complaints()).into());
            }
            if self.started.elapsed() > PATIENCE {
                return Err(format!("it never was ready\n{}", self.complaints()).into());
            }
            std::thread::sleep(POLL);
        }
        Ok(self.started.elapsed())
    }

    /// Its processes, itself among them.
    pub fn processes(&self) -> Result<Vec<i32>> {
        cpu::processes_of(self.group)
    }

    /// The last lines of its standard error.
    pub fn complaints(&self) -> String {
        let bytes = std::fs::read(&self.stderr).unwrap_or_default();
        let text = String::from_utf8_lossy(&bytes);
        let lines: Vec<_> = text.lines().collect();
        let tail = &lines[lines.len().saturating_sub(TAIL_LINES)..];
        match tail {
            [] => "its standard error is empty".to_owned(),
            tail => format!("its standard error ends with:\n{}", tail.join("\n")),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Asked first: nginx's master then buries its worker, which nobody else may do.
        let _ = kill_process(self.group, Signal::INT);
        let asked = Instant::now();
        while matches!(self.child.try_wait(), Ok(None)) && asked.elapsed() < GRACE {
            std::thread::sleep(POLL);
        }
        // Fails where all have ended.
        let _ = kill_process_group(self.group, Signal::KILL);
        let _ = self.child.wait();
    }
}
