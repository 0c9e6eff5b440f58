//! The client's certificate at each request: how its connection stands, whose it is, and what is
//! written down of it.
//!
//! Whether it is good is for the [`Peer`](crate::identity::certificate::Peer) to say, at each
//! request anew. Whose it is by the rules is found out once a connection, and again when the rules
//! change.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};

use http::StatusCode;

use super::Request;
use super::exchange::{AnswerSink, BodySource, Upload};
use super::pages::text::Text;
use super::record::Record;
use super::respond::{self, Answer, Audience};
use crate::gate::clients::Clients;
use crate::gate::request::PresentedCertificate;
use crate::identity::certificate::{ClientIdentity, ShownCertificate, Standing};
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
    /// Whether it is on record whose it is.
    is_on_record: AtomicBool,
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
            is_on_record: AtomicBool::new(false),
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

/// Adds what a log line says of a certificate that proved nothing.
pub fn about_certificate(line: Line, shown: Option<&ShownCertificate>) -> Line {
    match shown {
        None => line,
        Some(shown) => line.text("tls.client.subject", &shown.subject).text(
            "tls.client.hash.sha256",
            &base16ct::lower::encode_string(&shown.sha256),
        ),
    }
}

/// Why a request is not even decided about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Unserved {
    /// Its connection was made for a host that wants other things of it.
    Misdirected,
    /// Its connection needs a good certificate and has none.
    Refused(NoIdentity),
    /// It has a field with an underscore in its name.
    Underscore,
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
        let gate = &self.snapshot.gate;
        let certified = self.client.kept.certified.with(|known| match known {
            Some(known) if known.is_of(&gate.clients, &identity) => Arc::clone(known),
            _ => self.keep(known, Certified::new(&gate.clients, identity)),
        });
        self.put_on_record(&certified)?;
        Ok(certified)
    }

    /// Writes down whose it is, once, before anything is made of that. Somebody disabled is not let
    /// in as anybody.
    fn put_on_record(&self, certified: &Certified) -> Result<(), Unserved> {
        let users = &self.snapshot.gate.users;
        if !certified.is_on_record.load(Ordering::Relaxed)
            && let Some(name) = certified.name().filter(|name| !users.is_disabled(name))
        {
            self.write_accepted(certified, name)?;
            certified.is_on_record.store(true, Ordering::Relaxed);
        }
        Ok(())
    }

    /// Keeps it for the next requests. Under other rules it may be the same person's still.
    fn keep(&self, known: &mut Option<Arc<Certified>>, certified: Certified) -> Arc<Certified> {
        if let Some(before) = known.as_deref().filter(|it| it.name() == certified.name()) {
            let is_on_record = before.is_on_record.load(Ordering::Relaxed);
            certified
                .is_on_record
                .store(is_on_record, Ordering::Relaxed);
        }
        Arc::clone(known.insert(Arc::new(certified)))
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
        self.worker.log.note(record.describe_certificate(line));
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
                self.problem(StatusCode::MISDIRECTED_REQUEST, Text::OtherHost)
            }
            Unserved::Refused(why) => {
                record.refused_for_certificate(why);
                self.write_certificate_refused(why, record);
                self.certificate_problem(why)
            }
            Unserved::Underscore => {
                record.underscore();
                let said = Text::Unacceptable.with("a field name with an underscore");
                self.problem(StatusCode::BAD_REQUEST, said)
            }
            Unserved::NotOnRecord => {
                record.not_on_record();
                self.problem(
                    StatusCode::SERVICE_UNAVAILABLE,
                    Text::CertificatesNotAccepted,
                )
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

#[cfg(test)]
mod tests {
    use std::io::{BufRead as _, BufReader, Write};
    use std::net::{SocketAddr, TcpListener};
    use std::num::NonZeroUsize;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::time::Duration;

    use arc_swap::ArcSwap;
    use bytes::{Bytes, BytesMut};
    use parking_lot::Mutex;
    use serde_json::{Value, json};
    use tokio::sync::watch;

    use super::*;
    use crate::config::{Source, parse};
    use crate::gate::users::User;
    use crate::http1::fields::{Fields, Received};
    use crate::http1::head::{HeadLimits, RequestHead};
    use crate::identity::InvalidIdentity;
    use crate::identity::certificate::{InvalidCertificate, Peer};
    use crate::observe::log::{Format, Logger};
    use crate::observe::metrics::Metrics;
    use crate::observe::tally::Tally;
    use crate::password::pool::HashPool;
    use crate::password::upgrade::Upgrades;
    use crate::password::verified::Verified;
    use crate::proxy::client::{ClientFacts, Scheme, SessionsAccepted};
    use crate::proxy::exchange::{AnswerLength, BodyFailure, ClientGone};
    use crate::proxy::identity_headers::IdentityHeaders;
    use crate::proxy::identity_headers::tests::certificate;
    use crate::proxy::pages::{Look, Pages};
    use crate::proxy::spec::BufferingSpec;
    use crate::proxy::spool::Spools;
    use crate::proxy::upstream::UpstreamPool;
    use crate::proxy::upstream::endpoint::Upstream;
    use crate::proxy::{Shared, Snapshot, Worker};
    use crate::store::SessionBounds;
    use crate::store::attempts::{Attempts, LockoutPolicy};
    use crate::store::memory::MemoryStore;
    use crate::store::secret::FormKey;

    const EXPIRED: NoIdentity =
        NoIdentity::Invalid(InvalidIdentity::Certificate(InvalidCertificate::Expired));

    /// A connection that stands as the test says.
    #[derive(Debug)]
    struct TestPeer(Mutex<Standing>);

    impl Peer for TestPeer {
        fn standing(&self, _: Option<&str>, _: i64) -> Standing {
            self.0.lock().clone()
        }

        fn shown(&self) -> Option<&ShownCertificate> {
            None
        }
    }

    #[derive(Default)]
    struct Answered {
        status: u16,
        fields: Vec<(String, String)>,
        body: Vec<u8>,
        closed: bool,
    }

    impl Answered {
        fn json(&self) -> Value {
            serde_json::from_slice(&self.body).unwrap()
        }
    }

    impl AnswerSink for Answered {
        async fn send_interim(
            &mut self,
            _: StatusCode,
            _: &[Received<'_>],
        ) -> Result<(), ClientGone> {
            Ok(())
        }

        fn begin(&mut self, status: StatusCode) {
            self.status = status.as_u16();
        }

        fn field(&mut self, name: &str, value: &[u8]) {
            let value = String::from_utf8(value.to_vec()).unwrap();
            self.fields.push((name.to_ascii_lowercase(), value));
        }

        fn pass(&mut self, field: &Received<'_>) {
            let name = String::from_utf8(field.name().to_vec()).unwrap();
            self.field(&name, field.value());
        }

        fn ready(&mut self, _: AnswerLength) {}

        async fn write(&mut self, piece: Bytes) -> Result<(), ClientGone> {
            self.body.extend_from_slice(&piece);
            Ok(())
        }

        async fn flush(&mut self) -> Result<(), ClientGone> {
            Ok(())
        }

        async fn finish(&mut self, _: Option<&Fields>) -> Result<(), ClientGone> {
            Ok(())
        }

        fn abort(&mut self) {}

        fn close_after(&mut self) {
            self.closed = true;
        }

        fn has_begun(&self) -> bool {
            self.status != 0
        }

        async fn gone(&mut self, _: Duration) {
            std::future::pending().await
        }
    }

    struct NoBody;

    impl BodySource for NoBody {
        fn is_empty(&self) -> bool {
            true
        }

        async fn next(&mut self) -> Result<Option<Bytes>, BodyFailure> {
            Ok(None)
        }
    }

    /// Takes lines, or for ever to take the first.
    enum Out {
        To(Sender<Vec<u8>>),
        Stuck,
    }

    impl Write for Out {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            let Self::To(into) = self else {
                loop {
                    std::thread::park();
                }
            };
            drop(into.send(bytes.to_vec()));
            Ok(bytes.len())
        }

        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    /// A backend that hands over each head that it gets.
    fn backend() -> (SocketAddr, Receiver<String>) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let (into, from) = channel();
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let lines = BufReader::new(stream.try_clone().unwrap()).lines();
                let lines = lines.map_while(Result::ok);
                let head: Vec<_> = lines.take_while(|line| !line.is_empty()).collect();
                drop(into.send(head.join("\n")));
                let answer = b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";
                drop((&stream).write_all(answer));
            }
        });
        (address, from)
    }

    /// A worker behind whom there is a public place (`/open/`) and one that needs somebody.
    struct Gate {
        worker: Worker,
        logged: Receiver<Vec<u8>>,
        arrived: Receiver<String>,
        _draining: watch::Sender<bool>,
    }

    impl Gate {
        fn new() -> Self {
            let (into, logged) = channel();
            Self::logging(Out::To(into), logged)
        }

        fn logging(out: Out, logged: Receiver<Vec<u8>>) -> Self {
            let (address, arrived) = backend();
            let text = format!(
                "listeners: [{{address: '127.0.0.1:0'}}]\n\
                 upstreams: {{device: {{url: 'http://{address}'}}}}\n\
                 roles: {{user: [view]}}\n\
                 users: {{}}\n\
                 identity: {{headers: [x-forwarded-user, nginx-ssl]}}\n\
                 routes: [{{match: /open/, public: true}}, {{can: view}}]\n"
            );
            let source = Source {
                file: "test.yaml".into(),
                variables: &|_| None,
            };
            let settings = parse(&text, &source).unwrap();
            let log = Logger::start(Format::Json, out).unwrap();
            let metrics = Arc::new(Metrics::new().unwrap());
            let tally = Arc::new(Tally::new(Arc::clone(&metrics)));
            let upstreams = Upstream::all(settings.upstreams);
            let snapshot = Snapshot {
                gate: settings.gate,
                credentials: settings.credentials,
                upstreams: upstreams.clone(),
                rewrites: settings.rewrites,
                identity: IdentityHeaders::new(settings.identity.headers, None).into(),
                login: settings.login,
                pages: Pages::new(Look::default()),
                limits: settings.limits,
                timeouts: settings.timeouts,
                trusted_proxies: settings.trusted_proxies.into(),
            };
            let shared = Shared {
                verified: Verified::new().unwrap(),
                attempts: Attempts::new(LockoutPolicy::default()),
                rates: crate::proxy::rate::RateLimits::default(),
                snapshot: ArcSwap::from_pointee(snapshot),
                sessions: MemoryStore::new(SessionBounds::default()).into(),
                hashing: HashPool::new(NonZeroUsize::MIN, 1).unwrap(),
                upgrades: Upgrades::default(),
                spools: Spools::new(&BufferingSpec::default()),
                form_key: FormKey::generate().unwrap(),
                hsts: Arc::default(),
                metrics,
                tallies: vec![Arc::clone(&tally)],
                log: log.clone(),
                cutting_off: AtomicBool::new(false),
            };
            let (draining, watching) = watch::channel(false);
            let worker = Worker {
                shared: Arc::new(shared),
                log,
                tally,
                pool: UpstreamPool::new(&upstreams, 1),
                draining: watching,
            };
            Self {
                worker,
                logged,
                arrived,
                _draining: draining,
            }
        }

        fn serve(&self, client: &ClientFacts, path: &str) -> Answered {
            let head = head(path);
            let snapshot = self.worker.shared.snapshot.load_full();
            let request = Request::new(&self.worker, client, snapshot, &head);
            let (mut body, mut answered) = (NoBody, Answered::default());
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .unwrap();
            let mut upload = Upload::new(&mut body);
            runtime.block_on(request.serve(&mut upload, &mut answered));
            answered
        }

        /// The lines logged since the last time.
        fn lines(&self) -> Vec<Value> {
            self.worker.log.flush(Duration::from_secs(10));
            let bytes: Vec<u8> = self.logged.try_iter().flatten().collect();
            let text = String::from_utf8(bytes).unwrap();
            let lines = text.lines().map(|line| serde_json::from_str(line).unwrap());
            lines.collect()
        }
    }

    fn head(path: &str) -> RequestHead {
        let text = format!("GET {path} HTTP/1.1\r\nHost: gate.example\r\n\r\n");
        let parsed = RequestHead::parse(&mut BytesMut::from(&*text), &HeadLimits::default());
        parsed.unwrap().unwrap()
    }

    fn client(standing: Standing) -> ClientFacts {
        let address = SocketAddr::from(([127, 0, 0, 1], 1));
        ClientFacts {
            peer: Some(Arc::new(TestPeer(Mutex::new(standing)))),
            ..ClientFacts::new(
                "https".into(),
                (address, address),
                Scheme::Https,
                SessionsAccepted::Yes,
                Arc::default(),
            )
        }
    }

    fn user(name: &str) -> Arc<User> {
        Arc::new(User {
            name: UserName::of_certificate(name).unwrap(),
            roles: Vec::new(),
            groups: None,
            abilities: Default::default(),
            disabled: false,
            email: None,
            display_name: None,
            credential_epoch: 0,
        })
    }

    fn events(lines: &[Value]) -> Vec<&str> {
        lines
            .iter()
            .map(|line| line["event"].as_str().unwrap())
            .collect()
    }

    #[test]
    fn a_request_on_another_hosts_connection_is_misdirected() {
        let gate = Gate::new();
        let client = client(Standing::Misdirected);
        for path in ["/open/", "/x", "/auth/login"] {
            let answered = gate.serve(&client, path);
            assert_eq!((answered.status, answered.closed), (421, true), "{path}");
            let lines = gate.lines();
            assert_eq!(events(&lines), ["access"]);
            assert_eq!(lines[0]["auth.reason"], "misdirected");
        }
        assert!(gate.arrived.try_recv().is_err());
        let metrics = gate.worker.shared.metrics.encode().unwrap();
        let rejected = "http_requests_rejected_total{listener=\"https\",reason=\"bad_request\"} 3";
        assert!(metrics.contains(rejected), "{metrics}");
    }

    #[test]
    fn a_connection_that_needs_a_certificate_gets_nothing_without() {
        let gate = Gate::new();
        for (why, reason, words) in [
            (EXPIRED, "client_cert_expired", "has expired"),
            (NoIdentity::NotPresented, "not_presented", "sent none"),
        ] {
            let client = client(Standing::Refused(why));
            for path in ["/open/", "/x", "/auth/login"] {
                let answered = gate.serve(&client, path);
                assert_eq!((answered.status, answered.closed), (403, true), "{path}");
                let problem = answered.json();
                assert_eq!(problem["reason"], reason);
                assert!(
                    problem["detail"].as_str().unwrap().contains(words),
                    "{problem}"
                );
                let lines = gate.lines();
                assert_eq!(events(&lines), ["client_cert.refused", "access"]);
                for line in &lines {
                    assert_eq!(line["auth.reason"], reason);
                    assert_eq!(line["request.id"], problem["request_id"]);
                }
                assert_eq!(lines[0]["http.route"], "none");
            }
        }
        assert!(gate.arrived.try_recv().is_err());
    }

    #[test]
    fn a_good_certificate_is_told_and_logged_on_public_routes() {
        let gate = Gate::new();
        let client = client(Standing::Certificate(Ok(Arc::new(certificate()))));
        for _ in 0..2 {
            assert_eq!(gate.serve(&client, "/open/").status, 200);
            let arrived = gate.arrived.recv().unwrap();
            assert!(arrived.contains("ssl-client-verify: SUCCESS"), "{arrived}");
            assert!(arrived.contains("dn: CN=cam-1,O=Plant"), "{arrived}");
            assert!(!arrived.contains("X-Forwarded-User"), "{arrived}");
        }
        for line in gate.lines() {
            assert_eq!(line["tls.client.subject"], "CN=cam-1,O=Plant");
            assert_eq!(line["tls.client.hash.sha256"], "ab".repeat(32));
        }
    }

    #[test]
    fn a_bad_certificate_serves_nobody_but_the_public_and_the_login_says_why() {
        let gate = Gate::new();
        let client = client(Standing::Certificate(Err(EXPIRED)));
        assert_eq!(gate.serve(&client, "/open/").status, 200);
        let arrived = gate.arrived.recv().unwrap();
        let failed = "ssl-client-verify: FAILED:certificate has expired";
        assert!(arrived.contains(failed), "{arrived}");
        gate.lines();
        let answered = gate.serve(&client, "/x");
        assert_eq!((answered.status, answered.closed), (401, false));
        let problem = answered.json();
        assert_eq!(problem["reason"], "client_cert_expired");
        assert!(
            problem["detail"]
                .as_str()
                .unwrap()
                .ends_with("has expired."),
            "{problem}"
        );
        assert_eq!(gate.lines()[0]["auth.reason"], "client_cert_expired");
    }

    #[test]
    fn without_a_peer_there_is_no_certificate() {
        let gate = Gate::new();
        let client = ClientFacts {
            peer: None,
            ..client(Standing::Misdirected)
        };
        assert_eq!(gate.serve(&client, "/open/").status, 200);
        let arrived = gate.arrived.recv().unwrap();
        assert!(arrived.contains("ssl-client-verify: NONE"), "{arrived}");
        let problem = gate.serve(&client, "/x").json();
        assert_eq!(problem.get("reason"), None);
    }

    /// What becomes of a certificate that is somebody's.
    fn keep(gate: &Gate, known: &mut Option<Arc<Certified>>, name: &str) -> Result<(), Unserved> {
        let client = client(Standing::Misdirected);
        let head = head("/");
        let snapshot = gate.worker.shared.snapshot.load_full();
        let request = Request::new(&gate.worker, &client, snapshot, &head);
        let clients = Arc::default();
        let mut certified = Certified::new(&clients, Arc::new(certificate()));
        certified.presented.client = Ok(user(name));
        let certified = request.keep(known, certified);
        request.put_on_record(&certified)
    }

    #[test]
    fn whose_a_certificate_is_is_written_once_and_again_when_it_is_somebody_elses() {
        let gate = Gate::new();
        let mut known = None;
        for (name, written) in [("cam-1", 1), ("cam-1", 0), ("cam-2", 1)] {
            keep(&gate, &mut known, name).unwrap();
            let lines = gate.lines();
            assert_eq!(lines.len(), written, "{lines:?}");
            for line in lines {
                let said = [
                    &line["event"],
                    &line["user.name"],
                    &line["tls.client.subject"],
                ];
                assert_eq!(said, ["client_cert.accepted", name, "CN=cam-1,O=Plant"]);
                assert_eq!(
                    [&line["listener"], &line["client.address"]],
                    ["https", "127.0.0.1"]
                );
                assert_ne!(line["request.id"], json!(null));
            }
        }
    }

    #[test]
    fn nobody_is_let_in_by_a_certificate_while_the_log_takes_nothing() {
        let (_, logged) = channel();
        let gate = Gate::logging(Out::Stuck, logged);
        for text in ["x".repeat(1000), String::new()] {
            let log = &gate.worker.log;
            let line = || log.line(Level::Info, "x").text("x", &text);
            while log.audit(line()).is_ok() {}
        }
        let mut known = None;
        let name = "y".repeat(256);
        assert_eq!(keep(&gate, &mut known, &name), Err(Unserved::NotOnRecord));
        let certified = known.unwrap();
        let is_on_record = certified.is_on_record.load(Ordering::Relaxed);
        assert!(!is_on_record, "the next request tries again");
    }
}
