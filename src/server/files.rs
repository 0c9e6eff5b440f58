//! When to look at the files again: something happened in one of their folders, time has passed,
//! or somebody asked.
//!
//! Folders are watched and not files: a file that is replaced takes its watch with it, and
//! Kubernetes replaces a link beside (`..data`). What happened there is not looked at closely;
//! whoever is told compares what is in the files.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::sync::mpsc::{Receiver, RecvTimeoutError, Sender, channel};
use std::time::{Duration, Instant};

use notify::event::{AccessKind, AccessMode, EventKind};
use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher as _};

/// How long it has to be quiet after something happened: files that belong together are written
/// one after the other.
const QUIET: Duration = Duration::from_millis(500);

/// The longest wait for quiet.
const PATIENCE: Duration = Duration::from_secs(5);

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
    /// `None` where the system has no more watches to give; then time alone has to do.
    watcher: Option<RecommendedWatcher>,
    folders: BTreeSet<PathBuf>,
}

impl Watch {
    pub(super) fn new() -> (Self, Caller) {
        let (caller, calls) = channel();
        let told = caller.clone();
        let watcher = notify::recommended_watcher(move |event: notify::Result<Event>| {
            if event.is_ok_and(|event| is_change(event.kind)) {
                drop(told.send(Call::Happened));
            }
        });
        let watch = Self {
            calls,
            watcher: watcher.ok(),
            folders: BTreeSet::new(),
        };
        (watch, Caller(caller))
    }

    /// From now on, watches the folders of these files, and those among them that are folders.
    pub(super) fn files<'p>(&mut self, files: impl IntoIterator<Item = &'p Path>) {
        let folder = |file: &Path| match file.parent() {
            _ if file.is_dir() => file.to_owned(),
            Some(parent) if parent != Path::new("") => parent.to_owned(),
            _ => PathBuf::from("."),
        };
        let folders: BTreeSet<_> = files.into_iter().map(folder).collect();
        let Some(watcher) = &mut self.watcher else {
            return;
        };
        // One that cannot be watched is looked at by time, which is the net for all of them.
        for gone in self.folders.difference(&folders) {
            drop(watcher.unwatch(gone));
        }
        for new in folders.difference(&self.folders) {
            drop(watcher.watch(new, RecursiveMode::NonRecursive));
        }
        self.folders = folders;
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
