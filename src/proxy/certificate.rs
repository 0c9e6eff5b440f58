//! The client's certificate at each request: how its connection stands, whose it is, and what is
//! written down of it.
//!
//! Whether it is good is for the [`Peer`](crate::identity::certificate::Peer) to say, at each
//! request anew. Whose it is by the rules is found out once a connection, and again when the rules
//! change.

use std::fmt;
use std::sync::{Arc, OnceLock};

use http::StatusCode;

use super::Request;
use super::exchange::{AnswerSink, BodySource, Upload};
use super::record::Record;
use super::respond::{self, Answer, Audience};
use crate::gate::clients::Clients;
use crate::gate::request::PresentedCertificate;
use crate::identity::certificate::{ClientIdentity, Standing};
use crate::identity::{NoIdentity, UserName};
use crate::observe::log::{Level, Line};

/// A connection's certificate, and what is said of it at each request.
pub(super) struct Certified {
    /// By whose rules it was looked at.
    clients: Arc<Clients>,
    pub(super) presented: PresentedCertificate,
    subject: String,
    sha256: String,
    /// Its fields of a log line.
    logged: OnceLock<String>,
}

impl fmt::Debug for Certified {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Certified").field(&self.subject).finish()
    }
}

impl Certified {
    fn new(clients: &Arc<Clients>, identity: Arc<ClientIdentity>) -> Self {
        Self {
            clients: Arc::clone(clients),
            subject: identity.subject.to_string(),
            sha256: base16ct::lower::encode_string(&identity.sha256),
            presented: PresentedCertificate {
                client: clients.identify(&identity),
                identity,
            },
            logged: OnceLock::new(),
        }
    }

    /// Whether it is about this certificate under these rules.
    fn is_of(&self, clients: &Arc<Clients>, identity: &Arc<ClientIdentity>) -> bool {
        Arc::ptr_eq(&self.clients, clients) && Arc::ptr_eq(&self.presented.identity, identity)
    }

    /// Whose it is, where the rules say so.
    fn name(&self) -> Option<&UserName> {
        self.presented.client.as_ref().ok().map(|user| &user.name)
    }

    /// Adds what a log line says of it.
    pub(super) fn describe(&self, line: Line) -> Line {
        line.fields(&self.logged, |line| {
            line.text("tls.client.subject", &self.subject)
                .text("tls.client.hash.sha256", &self.sha256)
        })
    }
}

/// Why a request is not even decided about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unserved {
    /// Its connection was made for a host that wants other things of it.
    Misdirected,
    /// Its connection needs a good certificate and has none.
    Refused(NoIdentity),
    /// Its certificate is somebody's, and the log does not take the line that says so.
    NotOnRecord,
}

impl Request<'_> {
    /// The certificate of its connection, or why there is none.
    pub(super) fn certificate(&self) -> Result<Result<Arc<Certified>, NoIdentity>, Unserved> {
        let Some(peer) = &self.client.peer else {
            return Ok(Err(NoIdentity::NotRequested));
        };
        let now = i64::try_from(self.now.0 / 1000).unwrap_or(i64::MAX);
        match peer.standing(self.head.authority(), now) {
            Standing::Misdirected => Err(Unserved::Misdirected),
            Standing::Refused(why) => Err(Unserved::Refused(why)),
            Standing::Certificate(Err(why)) => Ok(Err(why)),
            Standing::Certificate(Ok(identity)) => self.identified(identity).map(Ok),
        }
    }

    fn identified(&self, identity: Arc<ClientIdentity>) -> Result<Arc<Certified>, Unserved> {
        let clients = &self.snapshot.gate.clients;
        self.client.certified.with(|known| {
            if let Some(known) = known
                && known.is_of(clients, &identity)
            {
                return Ok(Arc::clone(known));
            }
            let certified = Arc::new(Certified::new(clients, identity));
            let name_before = known.as_deref().and_then(Certified::name);
            if let Some(name) = certified.name()
                && name_before != Some(name)
            {
                self.write_accepted(&certified, name)?;
            }
            *known = Some(Arc::clone(&certified));
            Ok(certified)
        })
    }

    /// As with a login: nobody is let in as somebody without a line that says so. Once a
    /// connection, unless the rules make it somebody else's.
    fn write_accepted(&self, certified: &Certified, name: &UserName) -> Result<(), Unserved> {
        let line = self.about_certificate(Level::Info, "client_cert.accepted");
        let line = line.text("user.name", name.as_str());
        let written = self.worker.log.audit(certified.describe(line));
        written.map_err(|_| Unserved::NotOnRecord)
    }

    /// Writes down that it is refused for its certificate, or for having none.
    pub(super) fn write_certificate_refused(&self, why: NoIdentity, record: &Record<'_>) {
        let line = self
            .about_certificate(Level::Warn, "client_cert.refused")
            .maybe_text("user.name", record.user_name())
            .text("auth.reason", why.as_str())
            .text("http.route", record.route());
        let line = match record.certificate() {
            Some(certified) => certified.describe(line),
            None => line,
        };
        self.worker.log.note(line);
    }

    fn about_certificate(&self, level: Level, event: &str) -> Line {
        self.worker
            .log
            .line(level, event)
            .text("client.address", &self.client.address)
            .text("listener", &self.client.listener)
            .text("request.id", self.id.as_str())
    }

    /// Answers it without a decision, and nothing more on its connection: the next request would
    /// fare the same, and a browser that makes a new one asks its user for a certificate again.
    pub(super) async fn send_unserved<B: BodySource, A: AnswerSink>(
        &self,
        unserved: Unserved,
        body: &mut Upload<'_, B>,
        answer: &mut A,
        record: &mut Record<'_>,
    ) {
        answer.close_after();
        let page = match unserved {
            Unserved::Misdirected => {
                record.misdirected();
                let detail = "This connection was made for another host name, under other rules. \
                              Open a new connection for this address.";
                self.problem(StatusCode::MISDIRECTED_REQUEST, detail)
            }
            Unserved::Refused(why) => {
                record.refused_for_certificate(why);
                self.write_certificate_refused(why, record);
                self.certificate_problem(why)
            }
            Unserved::NotOnRecord => {
                record.not_on_record();
                let detail = "Certificates cannot be accepted at the moment. Try again soon.";
                self.problem(StatusCode::SERVICE_UNAVAILABLE, detail)
                    .with("Retry-After", "5")
            }
        };
        if let Err(failure) = self.send(page, body, answer, record).await {
            self.fail(&failure, body, answer, record).await;
        }
    }

    fn certificate_problem(&self, why: NoIdentity) -> Answer {
        let audience = Audience::of(self.head);
        respond::certificate_needed(why, audience, &self.snapshot.pages, &self.id)
    }
}
