//! What lasts: an answer or an upload goes on only as long as whoever asked for it would be let in
//! again.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use serde_json::Value;
use socket2::{Domain, Socket, Type};
use tempfile::TempDir;

use crate::harness::backend::{Backend, Recorded};
use crate::harness::client::{Connection, status_of};
use crate::harness::eventually;
use crate::harness::gate::{self, Gate, PASSWORD, with_hash};
use crate::harness::pki::{Client, FUTURE};
use crate::harness::process::{finished, portcullis};
use crate::harness::served;

const TICK: &[u8] = b"5\r\ntick\n\r\n";

/// A backend that streams: under `/silent` one event and then nothing, under `/late` nothing at
/// all, else one event after the other.
fn source() -> Backend {
    Backend::answering(stream)
}

fn stream(request: &Recorded, stream: &mut TcpStream) -> bool {
    let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
    let path = request.path();
    if !path.ends_with("/late") && stream.write_all(head.as_bytes()).is_err() {
        return false;
    }
    let is_quiet = path.ends_with("/silent") || path.ends_with("/late");
    let mut sent = 0;
    // Until the gate is not interested any more.
    while !is_quiet || sent == 0 {
        if !path.ends_with("/late") && stream.write_all(TICK).is_err() {
            return false;
        }
        sent += 1;
        std::thread::sleep(Duration::from_millis(20));
    }
    let mut nothing = [0];
    std::io::Read::read(stream, &mut nothing).is_ok_and(|read| read > 0)
}

const PEOPLE: &str = "\
ralph:
  password: \"$2b$04$HASH\"
  roles: [user]
ada:
  password: \"$2b$04$HASH\"
  roles: [administrator]
";

/// A gate in front of a source, with its users in a file and a socket for the administrator.
struct Streaming {
    gate: Gate,
    folder: TempDir,
    _backend: Backend,
}

impl Streaming {
    #[track_caller]
    fn start(more: &str) -> Self {
        let backend = source();
        let folder = tempfile::tempdir().unwrap();
        let config = gate::config(backend.address, "");
        let (before, _) = config.split_once("users:").unwrap();
        let config = before.replace("admin: {", "admin: {socket: admin.sock, ");
        let text = format!("{config}users: users.yaml\n{more}");
        std::fs::write(folder.path().join("portcullis.yaml"), text).unwrap();
        std::fs::write(folder.path().join("users.yaml"), with_hash(PEOPLE)).unwrap();
        let gate = Gate::start_file(&folder.path().join("portcullis.yaml"), &[]);
        Self {
            gate,
            folder,
            _backend: backend,
        }
    }

    /// Opens a stream, and waits until it has begun.
    #[track_caller]
    fn open(&self, session: &str, path: &str) -> Connection {
        let mut connection = self.gate.connect();
        connection.send(request("GET", path, session).as_bytes());
        connection.read_until("tick");
        connection
    }

    /// Puts other users into the file, as an editor does.
    fn write(&self, people: &str) {
        let new = self.folder.path().join("new");
        std::fs::write(&new, with_hash(people)).unwrap();
        std::fs::rename(new, self.folder.path().join("users.yaml")).unwrap();
    }

    fn end_as_administrator(&self) {
        let config = self.folder.path().join("portcullis.yaml");
        let config = config.to_str().unwrap();
        let args = ["sessions", "end", "--user", "ralph", "-c", config];
        assert_eq!(finished(portcullis(args), "").code, Some(0));
    }

    fn log_out(&self, session: &str) {
        assert_eq!(self.gate.log_out(session).status, 200);
    }
}

fn request(method: &str, path: &str, session: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: localhost\r\n\
         Cookie: __Host-portcullis={session}\r\n\r\n"
    )
}

fn is_cut(line: &Value) -> bool {
    line["event"] == "access" && line["error.type"] == "no_longer_permitted"
}

/// Reads to the end, which has to come, and not as that of a whole answer.
#[track_caller]
fn check_cut_off(mut connection: Connection) {
    let rest = connection.read_to_end();
    assert!(!rest.ends_with("0\r\n\r\n"), "{rest}");
}

/// Ends the sessions of ralph in one way, with what the record says of that.
type End = (&'static str, fn(&Streaming, &str));

const ENDS: [End; 6] = [
    ("logout", |it, session| it.log_out(session)),
    ("administrator", |it, _| it.end_as_administrator()),
    ("user_gone", |it, _| {
        it.write(&PEOPLE.replacen("[user]", "[user]\n  disabled: true", 1));
    }),
    ("user_gone", |it, _| {
        let (_, ada) = PEOPLE.split_at(PEOPLE.find("ada:").unwrap());
        it.write(ada);
    }),
    ("password_changed", |it, _| {
        let hash = bcrypt::hash(PASSWORD, 4).unwrap();
        it.write(&PEOPLE.replacen("$2b$04$HASH", &hash, 1));
    }),
    ("rights_changed", |it, _| {
        it.write(&PEOPLE.replacen("[user]", "[administrator]", 1));
    }),
];

#[test]
fn streams_end_with_the_session_and_so_does_the_session_for_good_on_record() {
    for (reason, end) in ENDS {
        let it = Streaming::start("");
        let [ralph, ada] = ["ralph", "ada"].map(|user| it.gate.log_in(user));
        let mut others = it.open(&ada, "/");
        let ends = ["/", "/silent"].map(|path| it.open(&ralph, path));
        let mut http2 = Command::new("curl")
            .args(["-skN", "--http2", "--max-time", "60", "-o", "/dev/null"])
            .args(["-H", &format!("Cookie: __Host-portcullis={ralph}")])
            .arg(format!("https://localhost:{}/", it.gate.port()))
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let in_flight = "portcullis_http_requests_in_flight";
        it.gate.await_metric(in_flight, &[], 4.0);
        end(&it, &ralph);
        for connection in ends {
            check_cut_off(connection);
        }
        // 92: the stream was not closed cleanly.
        let exit = http2.wait().unwrap().code();
        assert_eq!(exit, Some(92), "{reason}");
        eventually("all three are on record", || {
            (it.gate.count_lines(is_cut) == 3).then_some(())
        });
        let ended = eventually("the end of the session is on record", || {
            it.gate.line("session.end")
        });
        assert_eq!(ended["auth.reason"], reason, "{ended}");
        assert_eq!(ended["user.name"], "ralph", "{ended}");
        assert_eq!(it.gate.curl().session(&ralph).get("/x").status, 401);
        // Others go on.
        others.read_until("tick");
        drop(others);
    }
}

#[test]
fn whoever_waits_for_an_answer_or_sends_a_body_when_the_session_ends_is_told_so() {
    let it = Streaming::start("");
    let [ralph, ada] = ["ralph", "ada"].map(|user| it.gate.log_in(user));
    let mut waiting = it.gate.connect();
    waiting.send(request("GET", "/late", &ralph).as_bytes());
    let put = |session: &str| {
        let mut connection = it.gate.connect();
        let head = format!(
            "PUT /late HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\
             Cookie: __Host-portcullis={session}\r\n\r\n1\r\na\r\n"
        );
        connection.send(head.as_bytes());
        connection
    };
    let (mut sending, mut other) = (put(&ralph), put(&ada));
    // They are being served, all three.
    let in_flight = "portcullis_http_requests_in_flight";
    it.gate.await_metric(in_flight, &[], 3.0);
    it.log_out(&ralph);
    for connection in [&mut waiting, &mut sending] {
        let answer = connection.read_answer();
        assert_eq!(status_of(&answer), 401, "{answer}");
        assert!(answer.contains("WWW-Authenticate: Cookie"), "{answer}");
    }
    it.gate.await_metric(in_flight, &[], 1.0);
    other.send(b"1\r\nb\r\n");
    it.gate.await_metric(in_flight, &[], 1.0);
}

/// A backend that answers before it reads anything, without end. Says how many of its connections take
/// no more.
fn flood() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let stuck = Arc::new(AtomicUsize::new(0));
    let counted = Arc::clone(&stuck);
    std::thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let stuck = Arc::clone(&counted);
            std::thread::spawn(move || {
                let head = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";
                let chunk = format!("10000\r\n{}\r\n", "x".repeat(0x10000));
                stream
                    .set_write_timeout(Some(Duration::from_secs(1)))
                    .unwrap();
                stream.write_all(head.as_bytes()).unwrap();
                while stream.write_all(chunk.as_bytes()).is_ok() {}
                stuck.fetch_add(1, Ordering::Relaxed);
                drop(std::io::copy(&mut stream, &mut std::io::sink()));
            });
        }
    });
    (address, stuck)
}

#[test]
fn sessions_are_ended_by_a_command_whatever_is_wrong_with_the_configuration_meanwhile() {
    let it = Streaming::start("");
    let ralph = it.gate.log_in("ralph");
    let file = it.folder.path().join("portcullis.yaml");
    let broken = std::fs::read_to_string(&file).unwrap() + "nonsense: true\n";
    std::fs::write(&file, broken).unwrap();
    it.write("ralph: {password: plain}\n");
    it.end_as_administrator();
    assert_eq!(it.gate.curl().session(&ralph).get("/").status, 401);
}

#[test]
fn an_upload_ends_with_its_session_though_nobody_reads_the_answer() {
    let (address, stuck) = flood();
    let gate = gate::with(address, "timeouts: {body: 10m}\n");
    let [ralph, ada] = ["ralph", "ada"].map(|user| gate.log_in(user));
    let put = |session: &str| {
        let mut connection = gate.connect();
        let head = format!(
            "PUT /x HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\
             Cookie: __Host-portcullis={session}\r\n\r\n1\r\na\r\n"
        );
        connection.send(head.as_bytes());
        connection
    };
    let (_sending, mut other) = (put(&ralph), put(&ada));
    eventually("the gate waits for its clients", || {
        (stuck.load(Ordering::Relaxed) == 2).then_some(())
    });
    let in_flight = "portcullis_http_requests_in_flight";
    gate.await_metric(in_flight, &[], 2.0);
    assert_eq!(gate.log_out(&ralph).status, 200);
    gate.await_metric(in_flight, &[], 1.0);
    other.send(b"1\r\nb\r\n");
    gate.await_metric(in_flight, &[], 1.0);
}

#[test]
fn a_request_that_waited_for_its_backend_is_not_sent_when_its_session_has_ended_meanwhile() {
    // One whose queue is full: the next connection waits until somebody accepts.
    let backend = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    let any = SocketAddr::from(([127, 0, 0, 1], 0));
    backend.bind(&any.into()).unwrap();
    backend.listen(0).unwrap();
    let listener = TcpListener::from(backend);
    let address = listener.local_addr().unwrap();
    let _queued = TcpStream::connect(address).unwrap();
    let gate = gate::with(address, "");
    let [ralph, ada] = ["ralph", "ada"].map(|user| gate.log_in(user));
    let ask = |session: &str| {
        let mut connection = gate.connect();
        connection.send(request("GET", "/x", session).as_bytes());
        connection
    };
    let (mut of_ralph, mut of_ada) = (ask(&ralph), ask(&ada));
    gate.await_metric("portcullis_http_requests_in_flight", &[], 2.0);
    assert_eq!(gate.log_out(&ralph).status, 200);
    let served = std::thread::spawn(move || {
        drop(listener.accept().unwrap());
        let mut users = Vec::new();
        for stream in [listener.accept().unwrap().0, listener.accept().unwrap().0] {
            let mut reader = BufReader::new(stream);
            let lines = reader.by_ref().lines().map_while(Result::ok);
            let head: Vec<String> = lines.take_while(|line| !line.is_empty()).collect();
            let user = head
                .iter()
                .find_map(|it| it.strip_prefix("X-Forwarded-User: "));
            users.extend(user.map(str::to_owned));
            drop(
                reader
                    .get_mut()
                    .write_all(b"HTTP/1.1 204 No Content\r\n\r\n"),
            );
        }
        users
    });
    assert_eq!(status_of(&of_ralph.read_answer()), 401);
    assert_eq!(status_of(&of_ada.read_answer()), 204);
    assert_eq!(served.join().unwrap(), ["ada"]);
}

#[test]
fn a_stream_in_use_keeps_its_session_and_a_silent_one_does_not() {
    let it = Streaming::start("sessions: {idle: 2s}\n");
    let [ralph, ada] = ["ralph", "ada"].map(|user| it.gate.log_in(user));
    let mut lively = it.open(&ada, "/");
    check_cut_off(it.open(&ralph, "/silent"));
    assert_eq!(it.gate.curl().session(&ralph).get("/x").status, 401);
    // Longer than that without another request.
    let begun = std::time::Instant::now();
    while begun.elapsed() < Duration::from_millis(4500) {
        lively.read_until("tick");
    }
    let status = Command::new("curl")
        .args([
            "-sk",
            "--max-time",
            "1",
            "-o",
            "/dev/null",
            "-w",
            "%{http_code}",
        ])
        .args(["-H", &format!("Cookie: __Host-portcullis={ada}")])
        .arg(format!("https://localhost:{}/", it.gate.port()))
        .output()
        .unwrap();
    assert_eq!(status.stdout, b"200");
}

#[test]
fn a_stream_ends_when_the_certificate_that_opened_it_is_revoked_and_others_go_on() {
    let pki = served::pki();
    let lists = || {
        for issuer in ["root", "int"] {
            pki.crl(issuer, FUTURE, &format!("{issuer}.crl"));
        }
        pki.join(&["root.crl", "int.crl"], "crls");
    };
    lists();
    let tls = "  client_auth: {mode: required, ca: root.crt, crl: crls}\n";
    let backend = source();
    pki.write("portcullis.yaml", &served::config(&backend, tls, ""));
    let gate = Gate::start_file(&pki.path("portcullis.yaml"), &[]);
    let mut streams = ["gone", "good"].map(|name| {
        pki.client(name, &Client::default());
        let pem = pki.path(&format!("{name}.pem"));
        let mut connection = Connection::with_certificate(gate.address, &pem);
        connection.send(b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        connection.read_until("tick");
        connection
    });
    pki.revoke("int", "gone");
    lists();
    let [gone, good] = &mut streams;
    let rest = gone.read_to_end();
    assert!(!rest.ends_with("0\r\n\r\n"), "{rest}");
    eventually("it is on record", || gate.line_where(is_cut));
    good.read_until("tick");
    good.read_until("tick");
    assert_eq!(gate.count_lines(is_cut), 1);
}
