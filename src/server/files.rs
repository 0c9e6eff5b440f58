//! When to look at the files again: something happened in one of their folders, time has passed,
//! or somebody asked.
//!
//! Folders are watched and not files: a file that is replaced takes its watch with it, and
//! Kubernetes replaces a link beside (`..data`). So are those that links lead to, step by step. What
//! happens to other files there is nothing to us: a log that is written to must not keep us waiting
//! for quiet. What has happened to ours is not looked at closely; whoever is told compares what is in
//! the files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};
use parking_lot::Mutex;

/// How long it has to be quiet after something happened: files that belong together are written
/// one after the other.
const QUIET: Duration = Duration::from_millis(500);

/// The longest wait for quiet: whoever is disabled is not to be let in for longer than that.
const PATIENCE: Duration = Duration::from_secs(1);

/// The most links that are followed, as Linux has it.
const MOST_LINKS: usize = 40;

/// How often to look without having been told: some file systems tell nothing.
const POLL: Duration = Duration::from_secs(30);

/// What wakes the watch.
enum Call {
    /// Something happened in a folder.
    Happened,
    /// Somebody asked.
    Asked,
    /// The server ends.
    End,
}

/// Why to look now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Why {
    /// Something may have changed.
    Maybe,
    /// Somebody asked, and wants to hear of it in any case.
    Asked,
}

/// Calls the watch from elsewhere.
#[derive(Clone)]
pub(super) struct Caller(Sender<Call>);

impl Caller {
    /// Asks to look in any case.
    pub(super) fn ask(&self) {
        // Without a watch there is nobody to ask.
        drop(self.0.send(Call::Asked));
    }

    /// Asks to look whether something changed.
    pub(super) fn look(&self) {
        drop(self.0.send(Call::Happened));
    }

    /// Ends the watch.
    pub(super) fn end(&self) {
        drop(self.0.send(Call::End));
    }
}

/// Waits for reasons to look at files.
pub(super) struct Watch {
    calls: Receiver<Call>,
    caller: Caller,
    /// `None` where the system has no more watches to give; then time alone has to do.
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
    ours: Arc<Mutex<Ours>>,
}

/// What there is to watch.
#[derive(Default)]
struct Ours {
    /// The files, the links that lead to them, and the folders on the way.
    paths: BTreeSet<PathBuf>,
    /// The folders among the files: everything that is in them counts.
    whole: BTreeSet<PathBuf>,
    /// The folders where something may happen to them.
    folders: BTreeSet<PathBuf>,
}

impl Ours {
    /// What these files are, and are reached by.
    fn of<'p>(files: impl IntoIterator<Item = &'p Path>) -> Self {
        let mut ours = Self::default();
        for step in files.into_iter().flat_map(steps) {
            ours.folders.extend(step.parent().map(Path::to_owned));
            ours.paths.extend(step.ancestors().map(Path::to_owned));
            if step.is_dir() {
                ours.folders.insert(step.clone());
                ours.whole.insert(step);
            }
        }
        ours
    }

    /// Whether it happened to one of them.
    fn are_in(&self, event: &Event) -> bool {
        let is_ours = |path: &PathBuf| {
            let is_inside = path.parent().is_some_and(|it| self.whole.contains(it));
            is_inside || self.paths.contains(path)
        };
        event.need_rescan() || event.paths.is_empty() || event.paths.iter().any(is_ours)
    }
}

/// A file and, where it is a link, what that leads to, step by step; with what it comes to in the end,
/// which a link among its folders may have made another place.
fn steps(file: &Path) -> Vec<PathBuf> {
    let first = std::path::absolute(file).unwrap_or_else(|_| file.to_owned());
    let mut steps = vec![first];
    while steps.len() < MOST_LINKS
        && let Some(last) = steps.last()
        && let Ok(target) = std::fs::read_link(last)
    {
        let folder = last.parent().unwrap_or_else(|| Path::new("/"));
        let next = folder.join(target);
        steps.push(next);
    }
    steps.extend(std::fs::canonicalize(file));
    steps
}

impl Watch {
    pub(super) fn new() -> (Self, Caller) {
        let (caller, calls) = channel();
        let told = caller.clone();
        let ours = Arc::new(Mutex::new(Ours::default()));
        let looked_at = Arc::clone(&ours);
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            let counts = |event: Event| is_change(event.kind) && looked_at.lock().are_in(&event);
            if event.is_ok_and(counts) {
                drop(told.send(Call::Happened));
            }
        });
        let caller = Caller(caller);
        let watch = Self {
            calls,
            caller: caller.clone(),
            watcher: watcher.ok(),
            folders: BTreeSet::new(),
            ours,
        };
        (watch, caller)
    }

    /// From now on, watches the folders of these files, and those among them that are folders.
    pub(super) fn files<'p>(&mut self, files: impl IntoIterator<Item = &'p Path>) {
        let ours = Ours::of(files);
        let folders = ours.folders.clone();
        *self.ours.lock() = ours;
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        // One that cannot be watched is looked at by time, which is the net for all of them.
        for gone in self.folders.difference(&folders) {
            drop(watcher.unwatch(gone));
        }
        let mut is_new = false;
        for new in folders.difference(&self.folders) {
            is_new |= watcher.watch(new, RecursiveMode::NonRecursive).is_ok();
        }
        self.folders = folders;
        if is_new {
            // What happened there before that is looked for.
            self.caller.look();
        }
    }

    /// Waits for the next reason; `None` when the server ends.
    pub(super) fn next(&self) -> Option<Why> {
        match self.calls.recv_timeout(POLL) {
            Ok(Call::Happened) => self.until_quiet(),
            Ok(Call::Asked) => Some(Why::Asked),
            Err(RecvTimeoutError::Timeout) => Some(Why::Maybe),
            Ok(Call::End) | Err(RecvTimeoutError::Disconnected) => None,
        }
    }

    fn until_quiet(&self) -> Option<Why> {
        let first = Instant::now();
        while first.elapsed() < PATIENCE {
            match self.calls.recv_timeout(QUIET) {
                Ok(Call::Happened) => {}
                Ok(Call::Asked) => return Some(Why::Asked),
                Err(RecvTimeoutError::Timeout) => break,
                Ok(Call::End) | Err(RecvTimeoutError::Disconnected) => return None,
            }
        }
        Some(Why::Maybe)
    }
}

/// Opening and reading are no changes; without this, our own looking would be a reason to look.
const fn is_change(kind: EventKind) -> bool {
    match kind {
        EventKind::Access(AccessKind::Close(AccessMode::Write)) => true,
        EventKind::Access(_) => false,
        _ => true,
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{create_dir, write};
    use std::os::unix::fs::symlink;

    use super::*;

    fn event(path: &Path) -> Event {
        Event::new(EventKind::Any).add_path(path.to_owned())
    }

    #[test]
    fn what_happens_to_our_files_and_their_links_counts_and_what_happens_beside_them_does_not() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        let at = |path: &str| root.join(path);
        for folder in ["conf", "data", "cas", "k8s", "k8s/..1"] {
            create_dir(at(folder)).unwrap();
        }
        for file in ["data/users.yaml", "conf/c.yaml", "k8s/..1/tls.crt"] {
            write(at(file), "").unwrap();
        }
        symlink("../data/users.yaml", at("conf/users.yaml")).unwrap();
        symlink("..1", at("k8s/..data")).unwrap();
        symlink("..data/tls.crt", at("k8s/tls.crt")).unwrap();
        let files = ["conf/c.yaml", "conf/users.yaml", "cas", "k8s/tls.crt"].map(at);
        let ours = Ours::of(files.iter().map(PathBuf::as_path));

        for ours_too in [
            "conf/c.yaml",
            "conf/users.yaml",
            "data/users.yaml",
            "cas/any.crt",
            "k8s/..data",
            "k8s/..1",
        ] {
            let path = at(ours_too);
            assert!(ours.are_in(&event(&path)), "{ours_too}");
            assert!(ours.folders.contains(path.parent().unwrap()), "{ours_too}");
        }
        for other in ["conf/access.log", "data/sessions.redb", "k8s/..2", "other"] {
            assert!(!ours.are_in(&event(&at(other))), "{other}");
        }
        // What was missed may have been ours.
        assert!(ours.are_in(&Event::new(EventKind::Any)));
    }

    #[test]
    fn links_that_lead_in_a_circle_end_somewhere() {
        let root = tempfile::tempdir().unwrap();
        let [one, other] = ["one", "other"].map(|name| root.path().join(name));
        symlink(&one, &other).unwrap();
        symlink(&other, &one).unwrap();
        assert!(steps(&one).len() <= MOST_LINKS);
    }
}
