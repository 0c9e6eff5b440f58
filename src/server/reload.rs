//! Certificates, keys, users and the section `tls` while the server runs: read again when they
//! change, checked whole, then swapped in. What is wrong keeps the old and is said.
//!
//! One thread of its own does this: reading and building takes time, and nobody waits for it. Also
//! here: what time does to certificates and ticket keys.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use prometheus::IntGaugeVec;
use sha2::{Digest as _, Sha256};

use super::files::{Caller, Watch, Why};
use super::sessions::SessionEnds;
use super::upstreams::LiveUpstreams;
use super::users::LiveUsers;
use crate::config::settings::{ConfigText, Sections, Settings};
use crate::config::{self, ReadableUsers};
use crate::gate::users::Unclear;
use crate::observe::log::{Level, Logger};
use crate::observe::metrics::Metrics;
use crate::observe::words::rfc3339;
use crate::proxy::Shared;
use crate::tls::acceptor::{Acceptor, CertificateFacts};
use crate::tls::certs::now;
use crate::tls::files::read;
use crate::tls::secret::Answers;
use crate::tls::spec::TlsSpec;
use crate::tls::trust;

/// How long a random ticket key encrypts. It decrypts for as long again, so that who has one of
/// them can read at most what was said in a day.
const TICKET_KEY: Duration = Duration::from_secs(12 * 60 * 60);

/// A day in seconds.
const DAY: i64 = 86_400;

/// How many days before a certificate expires this is said.
const NOTICE_DAYS: [i64; 3] = [21, 7, 1];

/// What can change while the server runs, and where it came from.
pub struct Reloadable {
    /// The configuration.
    pub file: PathBuf,
    /// Its section `tls`, as it was read last: what it names is looked at, loaded or not.
    pub spec: Option<TlsSpec>,
    /// Its other sections, as they are in force, and the text that says so.
    pub sections: Sections,
    /// See [`Self::sections`].
    pub text: ConfigText,
    /// Passwords that somebody told us at start.
    pub answers: Answers,
    /// What is swapped.
    pub acceptor: Option<Acceptor>,
    /// The same for backends.
    pub upstreams: LiveUpstreams,
    /// What was in the files before all this was made of them.
    pub seen: Seen,
}

/// What is in the files, as digests. Taken before the files are read for use: what changes in
/// between is a change afterwards, and is not lost.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    config: [u8; 32],
    /// The file of users that the configuration names.
    users_file: Option<PathBuf>,
    users: [u8; 32],
    /// Of what the configuration names, as it was read last.
    named: [u8; 32],
    /// Of what the one names that is in force, where that is another.
    running: [u8; 32],
}

impl Seen {
    /// The configuration and its file of users; what else it names is not known yet.
    #[must_use]
    pub fn config(file: &Path) -> Self {
        let config = digest([file]);
        Self::named_in(config, config::users_file(file).unwrap_or_default())
    }

    /// The same now. Which file of users it names is only looked for where it has changed.
    fn again(&self, file: &Path) -> Self {
        let config = digest([file]);
        let users_file = match config == self.config {
            true => self.users_file.clone(),
            // One that cannot be read names the one that it named before, for all that is known.
            false => config::users_file(file).unwrap_or_else(|_| self.users_file.clone()),
        };
        Self::named_in(config, users_file)
    }

    fn named_in(config: [u8; 32], users_file: Option<PathBuf>) -> Self {
        Self {
            config,
            users: digest(users_file.as_deref()),
            users_file,
            named: digest([]),
            running: digest([]),
        }
    }

    /// Whether the users are all in which the two differ.
    fn differs_in_users_only(&self, other: &Self) -> bool {
        let users = other.users;
        let same = Self {
            users,
            ..self.clone()
        };
        self != other && same == *other
    }

    /// The same with the files that `spec` names.
    #[must_use]
    pub fn with(self, spec: Option<&TlsSpec>) -> Self {
        let named = named_by(spec);
        Self {
            named,
            running: named,
            ..self
        }
    }

    /// The same with those of another one that is in force.
    fn and(self, running: Option<&TlsSpec>) -> Self {
        let running = named_by(running);
        Self { running, ..self }
    }
}

/// How much a reload reads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Scope {
    /// Everything.
    All,
    /// Not the files of TLS: they are as they were when they were loaded.
    Users,
}

/// What a reload came to.
struct Applied {
    /// How many users there are, where they have changed.
    users: Option<usize>,
    /// What is wrong with certificates that stay as they were before; or with all of TLS, of which
    /// nothing was applied then.
    tls: Result<Option<String>, String>,
    /// The sections that have changed and wait for a restart.
    waiting: Vec<String>,
}

/// The thread that reloads.
pub(super) struct Reloader {
    reloadable: Reloadable,
    shared: Arc<Shared>,
    users: LiveUsers,
    log: Logger,
    metrics: Arc<Metrics>,
    /// Whether the last reload left nothing as it was before.
    was_whole: bool,
    notices: Notices,
    warned: Vec<String>,
    /// The certificates in the metrics.
    shown: Shown,
    /// What TLS is made of now.
    running: Option<TlsSpec>,
    /// The issuers of the revocation lists in the metrics.
    lists_shown: Vec<String>,
    keys_changed: Instant,
}

impl Reloader {
    /// Starts the thread. The caller wakes and ends it.
    pub(super) fn start(
        reloadable: Reloadable,
        shared: Arc<Shared>,
        ends: SessionEnds,
    ) -> io::Result<(JoinHandle<()>, Caller)> {
        let (mut watch, caller) = Watch::new();
        // What changed while all was loaded is looked for at once.
        caller.look();
        let mut reloader = Self {
            running: reloadable.spec.clone(),
            reloadable,
            users: LiveUsers::new(Arc::clone(&shared), ends, {
                let caller = caller.clone();
                move || caller.look()
            }),
            log: shared.log.lane(),
            metrics: Arc::clone(&shared.metrics),
            shared,
            was_whole: true,
            notices: Notices::default(),
            warned: Vec::new(),
            shown: Shown::default(),
            lists_shown: Vec::new(),
            keys_changed: Instant::now(),
        };
        reloader.note_success();
        reloader.say_warnings();
        reloader.look_at_certificates();
        let thread = std::thread::Builder::new()
            .name("reload".into())
            .spawn(move || reloader.run(&mut watch))?;
        Ok((thread, caller))
    }

    fn run(&mut self, watch: &mut Watch) {
        loop {
            watch.files(self.files());
            let Some(why) = watch.next() else { return };
            if why == Why::Asked {
                self.users.try_again();
            }
            let users_file = self.reloadable.seen.users_file.as_deref();
            self.users.upgrade(users_file);
            let reloadable = &mut self.reloadable;
            let seen = reloadable.seen.again(&reloadable.file);
            let seen = seen.with(reloadable.spec.as_ref());
            let seen = match self.running == reloadable.spec {
                true => seen,
                false => seen.and(self.running.as_ref()),
            };
            let has_changed = seen != reloadable.seen;
            let are_users = self.was_whole && seen.differs_in_users_only(&reloadable.seen);
            // What is wrong is said once for each time that it changes.
            reloadable.seen = seen;
            if why == Why::Asked || has_changed && !are_users {
                self.reload(Scope::All, has_changed);
            } else if has_changed {
                self.reload(Scope::Users, true);
            }
            let acceptor = self.reloadable.acceptor.as_ref();
            if acceptor.is_some_and(Acceptor::has_made_one_that_ends) {
                self.reload(Scope::All, true);
            }
            self.renew_upstreams();
            self.look_at_certificates();
            // Time makes some of them true.
            self.say_warnings();
            self.change_ticket_keys();
        }
    }

    /// Reads everything again, and swaps it in if it is right.
    fn reload(&mut self, scope: Scope, has_changed: bool) {
        let before = certificates(&self.reloadable);
        let tried = self.try_reload(scope);
        let is_whole = |applied: &Applied| matches!(applied.tls, Ok(None));
        self.was_whole = tried.as_ref().is_ok_and(is_whole);
        let applied = match tried {
            Ok(applied) => applied,
            Err(problems) => return self.keep_configuration(&problems),
        };
        match &applied.tls {
            Ok(None) => self.note_success(),
            Ok(Some(problems)) => self.say_failure(
                problems,
                "these certificates stay as they were before; all others were applied",
            ),
            Err(problems) => self.keep_tls(problems),
        }
        if applied.tls.is_ok() {
            self.say_success(self.was_whole, has_changed, &before);
        }
        self.say_users(applied.users);
        self.say_waiting(&applied.waiting);
    }

    /// The configuration cannot be used. The files that the one in force names go on counting.
    fn keep_configuration(&mut self, problems: &str) {
        let users = self.renew_users();
        let files = self.renew_files();
        let message = match (users, files) {
            (true, true) => {
                "the configuration stays as it was before; the files that it names were read \
                 again, and what is taken away from users counts, but for those with a problem"
            }
            (true, false) => {
                "the configuration stays as it was before; what is taken away from users counts, \
                 but for those with a problem"
            }
            (false, true) => {
                "the configuration stays as it was before, and so do all users, even those who \
                 have been disabled; the files of tls were read again"
            }
            (false, false) => "nothing was changed; what was loaded before goes on, with all users",
        };
        self.say_failure(problems, message);
    }

    fn keep_tls(&self, problems: &str) {
        let message = match self.renew_files() {
            true => "tls stays as it was before; the files that it names were read again",
            false => "nothing of tls was changed; what was loaded before goes on",
        };
        self.say_failure(problems, message);
    }

    fn say_failure(&self, problems: &str, consequence: &str) {
        let counter = &self.metrics.config_reloads;
        counter.with_label_values(&["failure"]).inc();
        self.metrics.config_last_reload_successful.set(0);
        for message in problems.lines().chain([consequence]) {
            let line = self.log.line(Level::Error, "config.reload");
            let line = line.text("result", "failure").text("message", message);
            self.log.note(line);
        }
    }

    fn try_reload(&mut self, scope: Scope) -> Result<Applied, String> {
        let mut settings = config::load(&self.reloadable.file).map_err(|it| it.to_string())?;
        let mut waiting = settings.sections.changed_since(&self.reloadable.sections);
        let are_new_users =
            waiting.iter().any(|section| section == "users") || self.users.are_narrowed();
        waiting.retain(|section| section != "users");
        let tls = match scope {
            Scope::All => self.reload_tls(&mut settings, &mut waiting),
            Scope::Users => Ok(None),
        };
        let mut users = None;
        if are_new_users && waiting.is_empty() {
            self.reloadable.sections = settings.sections.clone();
            self.reloadable.text = settings.text.clone();
            users = Some(self.users.swap(settings));
        } else if are_new_users {
            self.users.take_away(settings, &Unclear::default());
            waiting.push("users (but for what is taken away from them)".into());
        }
        Ok(Applied {
            users,
            tls,
            waiting,
        })
    }

    /// Takes away what the users of the configuration in force have not any more, while there is
    /// something wrong with another one. Whether that could be done.
    fn renew_users(&mut self) -> bool {
        let reloadable = &self.reloadable;
        match config::load_users_as(&reloadable.file, &reloadable.text) {
            Ok(ReadableUsers { settings, unclear }) => {
                self.users.take_away(settings, &unclear);
                true
            }
            Err(_) => false,
        }
    }

    /// Applies the section `tls`: what is wrong with certificates that stay as they were, if
    /// anything, or else with all of it. What cannot be applied is added to `waiting`.
    fn reload_tls(
        &mut self,
        settings: &mut Settings,
        waiting: &mut Vec<String>,
    ) -> Result<Option<String>, String> {
        let reloadable = &mut self.reloadable;
        let (acceptor, mut spec) = match (&reloadable.acceptor, settings.tls.take()) {
            (Some(acceptor), Some(spec)) => (acceptor, spec),
            (None, None) => return Ok(None),
            (None, Some(_)) | (Some(_), None) => {
                waiting.push("tls".into());
                return Ok(None);
            }
        };
        if let Some(running) = &self.running {
            let held_back = hold_back(&mut spec, running, waiting);
            waiting.extend(held_back.map(str::to_owned));
        }
        // The files may be others now. Also where they cannot be loaded: one that is missing may
        // come.
        let spec = reloadable.spec.insert(spec);
        let seen = reloadable.seen.clone();
        reloadable.seen = seen.with(Some(spec)).and(self.running.as_ref());
        let loaded = acceptor.reload(spec, &reloadable.answers);
        let kept = loaded.map_err(|error| error.to_string())?;
        self.running = Some(spec.clone());
        reloadable.seen.running = reloadable.seen.named;
        self.shared.hsts.store(settings.hsts.take());
        Ok(kept.map(|kept| kept.to_string()))
    }

    /// Reads the files again that are in use, for a configuration that is in force: a mistake in
    /// another one must not keep a revocation list from counting. Whether that could be done.
    fn renew_files(&self) -> bool {
        let Some((acceptor, spec)) = self.reloadable.acceptor.as_ref().zip(self.running.as_ref())
        else {
            return false;
        };
        acceptor.reload(spec, &self.reloadable.answers).is_ok()
    }

    /// Loads anew what connections and logins to backends are made of, where that has changed.
    fn renew_upstreams(&mut self) {
        let reloadable = &mut self.reloadable;
        let renewed = reloadable.upstreams.renew(&reloadable.answers);
        for upstream in &renewed {
            let name = &upstream.upstream;
            match &upstream.result {
                Ok(()) => {
                    let line = self.log.line(Level::Info, upstream.event);
                    let line = line.text("upstream.name", name);
                    self.log.note(line.text("result", "success"));
                }
                Err(error) => {
                    let message = "this backend is dealt with as before";
                    self.say_failure(&error.to_string(), message);
                }
            }
        }
        if !renewed.is_empty() && self.was_whole {
            self.note_success();
        }
    }

    /// The files that a reload reads.
    fn files(&self) -> impl Iterator<Item = &Path> {
        let specs = self.reloadable.spec.iter().chain(&self.running);
        let of_tls = specs.flat_map(TlsSpec::files);
        let users = self.reloadable.seen.users_file.as_deref();
        let config = [&*self.reloadable.file].into_iter().chain(users);
        let of_upstreams = self.reloadable.upstreams.files();
        config.chain(of_tls).chain(of_upstreams)
    }

    fn note_success(&self) {
        if !self.reloadable.upstreams.are_right() {
            return;
        }
        self.metrics.config_last_reload_successful.set(1);
        self.metrics.config_last_reload_success.set(now());
    }

    fn say_success(&mut self, is_whole: bool, has_changed: bool, before: &[CertificateFacts]) {
        if is_whole {
            let counter = &self.metrics.config_reloads;
            counter.with_label_values(&["success"]).inc();
            let result = if has_changed { "success" } else { "unchanged" };
            let line = self.log.line(Level::Info, "config.reload");
            self.log.note(line.text("result", result));
        }
        let now = certificates(&self.reloadable);
        for certificate in now.iter().filter(|it| !before.contains(it)) {
            let line = self.log.line(Level::Info, "tls.certificate");
            let line = line
                .text("tls.server.subject", &certificate.subject)
                .text("tls.server.serial", &certificate.serial)
                .text("tls.server.not_after", &rfc3339(certificate.not_after))
                .text("file.path", &certificate.path);
            self.log.note(line);
        }
        self.say_warnings();
    }

    /// Says what is odd about the certificates, each thing once.
    fn say_warnings(&mut self) {
        let acceptor = self.reloadable.acceptor.as_ref();
        let warnings = acceptor.map_or_else(Vec::new, Acceptor::warnings);
        for warning in warnings.iter().filter(|it| !self.warned.contains(it)) {
            let line = self.log.line(Level::Warn, "config.warning");
            self.log.note(line.text("message", warning));
        }
        self.warned = warnings;
    }

    fn say_users(&self, users: Option<usize>) {
        let Some(users) = users else { return };
        let line = self.log.line(Level::Info, "users.reload");
        self.log.note(line.number("users", users));
    }

    fn say_waiting(&self, waiting: &[String]) {
        if waiting.is_empty() {
            return;
        }
        let sections = waiting.join(", ");
        let message = format!(
            "only tls and users are applied while running, and users only where nothing else has \
             changed; restart to apply: {sections}"
        );
        let line = self.log.line(Level::Warn, "config.reload");
        let line = line
            .text("result", "restart_needed")
            .text("message", &message);
        self.log.note(line);
    }

    // === What time does ===

    /// Shows when certificates expire, and says so when it is near.
    fn look_at_certificates(&mut self) {
        let mut certificates = certificates(&self.reloadable);
        let acceptor = self.reloadable.acceptor.as_ref();
        let authorities = acceptor.map_or_else(Vec::new, Acceptor::authorities);
        self.shown.show(
            &self.metrics.tls_certificate_not_after,
            certificates
                .iter()
                .map(|it| ("server", it))
                .chain(authorities.iter().map(|it| ("client_ca", it))),
        );
        certificates.extend(authorities);
        self.show_revocation_lists();
        let now = now();
        for certificate in self.notices.gone_stale(&certificates, now) {
            let until = rfc3339(certificate.staple_until.unwrap_or_default());
            let message = format!(
                "the OCSP response for \"{}\" was good until {until} and is not sent any more; \
                 fetch a new one",
                certificate.subject
            );
            let line = self.log.line(Level::Warn, "tls.ocsp_out_of_date");
            self.log.note(line.text("message", &message));
        }
        for (certificate, days) in self.notices.due(certificates, now) {
            let level = if days < 7 { Level::Error } else { Level::Warn };
            let message = format!(
                "the certificate for \"{}\" {}; renew it",
                certificate.subject,
                match days {
                    ..0 => "has expired".to_owned(),
                    0 => "expires within a day".to_owned(),
                    days => format!("expires in {days} days"),
                }
            );
            let line = self.log.line(level, "tls.certificate_expires");
            let line = line.text("message", &message);
            let line = line
                .text("tls.server.subject", &certificate.subject)
                .text("tls.server.serial", &certificate.serial)
                .text("tls.server.not_after", &rfc3339(certificate.not_after))
                .number("days", days)
                .text("file.path", &certificate.path);
            self.log.note(line);
        }
    }

    /// Shows when revocation lists run out: nobody whose issuer wrote one is let in afterwards.
    fn show_revocation_lists(&mut self) {
        let acceptor = self.reloadable.acceptor.as_ref();
        let metric = &self.metrics.tls_revocation_list_next_update;
        let mut ends: BTreeMap<String, i64> = BTreeMap::new();
        for list in acceptor.iter().flat_map(|it| it.revocation_lists()) {
            // Of several of one issuer, the last counts.
            let end = ends.entry(list.issuer).or_insert(i64::MIN);
            *end = list.next_update.unwrap_or(i64::MAX).max(*end);
        }
        for (issuer, end) in &ends {
            metric.with_label_values(&[issuer]).set(*end);
        }
        for gone in self.lists_shown.iter().filter(|it| !ends.contains_key(*it)) {
            drop(metric.remove_label_values(&[gone]));
        }
        self.lists_shown = ends.into_keys().collect();
    }

    fn change_ticket_keys(&mut self) {
        let Some(acceptor) = &self.reloadable.acceptor else {
            return;
        };
        // Without randomness there are worse troubles; the old key goes on until the next time.
        if self.keys_changed.elapsed() >= TICKET_KEY && acceptor.rotate_ticket_keys().is_ok() {
            self.keys_changed = Instant::now();
        }
    }
}

fn certificates(reloadable: &Reloadable) -> Vec<CertificateFacts> {
    let acceptor = reloadable.acceptor.as_ref();
    acceptor.map_or_else(Vec::new, Acceptor::certificates)
}

/// Keeps of what clients are asked for what belongs to sections that wait for a restart; its name,
/// where that is other than what is written now.
///
/// What clients are asked for and what routes ask of them belong together: one without the other
/// could let in who neither the old configuration nor the new one would.
fn hold_back(spec: &mut TlsSpec, running: &TlsSpec, waiting: &[String]) -> Option<&'static str> {
    let waits = |section: &str| waiting.iter().any(|it| it == section);
    let written = spec.client_auth.clone();
    if ["routes", "clients", "roles"].into_iter().any(waits) {
        spec.client_auth.clone_from(&running.client_auth);
    } else if waits("listeners") {
        let of_listeners = &running.client_auth.listeners;
        spec.client_auth.listeners.clone_from(of_listeners);
    }
    let is_as_written = written.says_the_same_as(&spec.client_auth);
    (!is_as_written).then_some("tls.client_auth (it goes with them)")
}

/// A digest of all files that a configuration names.
fn named_by(spec: Option<&TlsSpec>) -> [u8; 32] {
    digest(spec.into_iter().flat_map(TlsSpec::files))
}

/// A digest of what is in the files and folders. One that cannot be read counts as empty: that it can be read
/// again is a change.
pub(super) fn digest<'p>(files: impl IntoIterator<Item = &'p Path>) -> [u8; 32] {
    let mut digest = Sha256::new();
    // Of a folder, all that is in it; which of its files are used, and why one is not, is found out
    // when they are loaded.
    let files = files.into_iter().flat_map(|path| {
        let inside = trust::files_at(path);
        inside.unwrap_or_else(|_| vec![path.to_owned()])
    });
    for file in files {
        let bytes = read(&file).unwrap_or_default();
        digest.update((bytes.len() as u64).to_be_bytes());
        digest.update(&*bytes);
    }
    digest.finalize().into()
}

/// The certificates in the metrics: purpose, subject, serial number.
#[derive(Default)]
struct Shown(HashSet<[String; 3]>);

impl Shown {
    /// Shows these and no others. Never all gone at once: whoever asks meanwhile would think that
    /// there is none.
    fn show<'c>(
        &mut self,
        metric: &IntGaugeVec,
        certificates: impl Iterator<Item = (&'c str, &'c CertificateFacts)>,
    ) {
        let mut shown = HashSet::new();
        for (purpose, certificate) in certificates {
            let labels = [purpose, &certificate.subject, &certificate.serial];
            metric.with_label_values(&labels).set(certificate.not_after);
            shown.insert(labels.map(str::to_owned));
        }
        for gone in self.0.difference(&shown) {
            drop(metric.remove_label_values(&gone.each_ref().map(String::as_str)));
        }
        self.0 = shown;
    }
}

/// What was said of certificates that are about to expire.
#[derive(Default)]
struct Notices {
    /// The last notice of each, in days.
    expiry: HashMap<CertificateFacts, i64>,
    /// Those whose staple was good when last looked at.
    stapled: HashSet<CertificateFacts>,
}

impl Notices {
    /// Those of which something is to be said now, with the days that are left; once for each
    /// notice, however often this is asked.
    fn due(
        &mut self,
        certificates: Vec<CertificateFacts>,
        now: i64,
    ) -> Vec<(CertificateFacts, i64)> {
        self.expiry.retain(|said, _| certificates.contains(said));
        let mut due = Vec::new();
        for certificate in certificates {
            let left = (certificate.not_after - now).div_euclid(DAY);
            let passed = NOTICE_DAYS.into_iter().chain([-1]);
            let Some(notice) = passed.filter(|notice| left < (*notice).max(0)).min() else {
                continue;
            };
            if self.expiry.insert(certificate.clone(), notice) != Some(notice) {
                due.push((certificate, left));
            }
        }
        due
    }

    /// Those whose staple was good the last time and is no more.
    fn gone_stale(&mut self, certificates: &[CertificateFacts], now: i64) -> Vec<CertificateFacts> {
        let is_good = |it: &&CertificateFacts| it.staple_until.is_some_and(|until| now < until);
        let good: HashSet<_> = certificates.iter().filter(is_good).cloned().collect();
        let known = |it: &&CertificateFacts| certificates.contains(it) && !good.contains(it);
        let gone = self.stapled.iter().filter(known).cloned().collect();
        self.stapled = good;
        gone
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expiry_is_said_once_at_21_7_and_1_days_and_when_it_is_there() {
        let certificate = CertificateFacts {
            subject: "x".into(),
            serial: "1".into(),
            not_after: 100 * DAY,
            staple_until: Some(50 * DAY),
            path: "x.crt".into(),
        };
        let mut notices = Notices::default();
        let mut said = Vec::new();
        for half_day in 0..210 {
            let due = notices.due(vec![certificate.clone()], half_day * DAY / 2);
            said.extend(due.into_iter().map(|(_, days)| (half_day, days)));
        }
        // More than so many days before the end nothing is said, in half days from the start.
        assert_eq!(said, [(159, 20), (187, 6), (199, 0), (201, -1)]);
        let stale = |notices: &mut Notices, now| {
            notices
                .gone_stale(std::slice::from_ref(&certificate), now)
                .len()
        };
        let said = [49, 50, 51].map(|day| stale(&mut notices, day * DAY));
        assert_eq!(said, [0, 1, 0]);
        // A new one of the same name is another.
        let renewed = CertificateFacts {
            not_after: 101 * DAY,
            ..certificate
        };
        assert_eq!(notices.due(vec![renewed], 100 * DAY - 1).len(), 1);
    }
}
