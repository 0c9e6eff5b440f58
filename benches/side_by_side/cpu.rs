//! Cores: which are for the proxy and which for us, how long a proxy ran on its own, and
//! how much others ran meanwhile.

use std::path::Path;
use std::time::Instant;

use rustix::process::Pid;
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

use crate::Result;

/// Takes the first core that we may use for the proxies and keeps this program, with all threads
/// that it starts from now on, to the others. Gives back the one and the others.
pub fn leave_one_to_the_proxies() -> Result<(usize, Vec<usize>)> {
    let allowed = sched_getaffinity(None)?;
    let mut others = (0..CpuSet::MAX_CPU).filter(|&cpu| allowed.is_set(cpu));
    let first = others.next().ok_or("no core to run on")?;
    let others: Vec<usize> = others.collect();
    if others.is_empty() {
        return Err("two cores are needed: one for the proxy, one for the load".into());
    }
    let mut ours = CpuSet::new();
    others.iter().for_each(|&cpu| ours.set(cpu));
    sched_setaffinity(None, &ours)?;
    Ok((first, others))
}

/// The processes of a group, as they are now.
pub fn processes_of(group: Pid) -> Result<Vec<i32>> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir("/proc")? {
        let name = entry?.file_name();
        let Some(pid) = name.to_str().and_then(|name| name.parse::<i32>().ok()) else {
            continue;
        };
        if group_of(pid) == Some(group.as_raw_nonzero().get()) {
            found.push(pid);
        }
    }
    Ok(found)
}

fn group_of(pid: i32) -> Option<i32> {
    // A process that has just ended has no file.
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // pid (name) state ppid pgrp …; the name may hold anything.
    let (_, after_name) = stat.rsplit_once(") ")?;
    after_name.split(' ').nth(2)?.parse().ok()
}

/// Nanoseconds that all tasks of these processes have spent on a core. Tasks that have ended are
/// no longer counted: no proxy here ends one while it is measured.
pub fn nanoseconds(processes: &[i32]) -> Result<u64> {
    let mut sum = 0;
    for pid in processes {
        for task in std::fs::read_dir(format!("/proc/{pid}/task"))? {
            sum += on_core(&task?.path())?;
        }
    }
    Ok(sum)
}

fn on_core(task: &Path) -> Result<u64> {
    let text = std::fs::read_to_string(task.join("schedstat"))?;
    let first = text.split_whitespace().next();
    Ok(first.ok_or("schedstat is empty")?.parse()?)
}

/// A moment, to say later how much core time other programs have taken since: what they take, they
/// take from the load and the proxies, and latencies mean little then.
pub struct Moment {
    at: Instant,
    all: u64,
    ours: u64,
}

impl Moment {
    pub fn now() -> Result<Self> {
        Ok(Self {
            at: Instant::now(),
            all: ticks_of_all()?,
            ours: ticks_of_ours()?,
        })
    }

    /// A sentence about the others, in per cent of one core. Proxies count as ours once they have
    /// ended.
    pub fn others_since(&self) -> Result<String> {
        let now = Self::now()?;
        let (all, ours) = (now.all - self.all, now.ours - self.ours);
        let seconds = (now.at - self.at).as_secs_f64();
        // A tick is a hundredth of a second.
        let percent = all.saturating_sub(ours) as f64 / seconds;
        Ok(format!(
            "Other programs took {percent:.0} % of a core meanwhile."
        ))
    }
}

/// All cores' time but idle and iowait, in ticks.
fn ticks_of_all() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/stat")?;
    let line = text.lines().next().ok_or("/proc/stat is empty")?;
    let fields = line.split_whitespace().skip(1);
    let fields: Vec<u64> = fields
        .map(str::parse)
        .collect::<std::result::Result<_, _>>()?;
    // user nice system idle iowait irq softirq steal
    let busy = [0, 1, 2, 5, 6, 7].iter().filter_map(|&at| fields.get(at));
    Ok(busy.sum())
}

/// This program's time and that of its children that have ended, in ticks.
fn ticks_of_ours() -> Result<u64> {
    let text = std::fs::read_to_string("/proc/self/stat")?;
    let (_, after_name) = text.rsplit_once(") ").ok_or("/proc/self/stat is strange")?;
    // utime stime cutime cstime
    let times = after_name.split(' ').skip(11).take(4);
    let times: Vec<u64> = times
        .map(str::parse)
        .collect::<std::result::Result<_, _>>()?;
    Ok(times.iter().sum())
}
